// Start what listens in this page. `sources` holds the modules as text: pages that are opened from disk may not load
// modules or data from files, but they may run scripts, and import what a script hands them. `colours` are those of
// spectrograms. book/listen.py writes the call.
(sources, colours) => {
  const base = document.currentScript.src.replace(/[^/]*$/, ''), urls = {}, waiting = {}, data = {}

  function url(name) { // a module's address, which holds the addresses of those it imports
    const linked = () => sources[name].replace(/from '\.\/(\w+)\.js'/g, (_, other) => `from '${url(other)}'`)
    return urls[name] ??= URL.createObjectURL(new Blob([linked()], {type: 'text/javascript'}))
  }

  function load(name) { // a file of data beside this script, which calls `listen.give`
    return data[name] ??= new Promise((done, failed) => {
      waiting[name] = done
      const script = document.createElement('script')
      script.src = `${base}${name}.js`
      script.onerror = () => { delete data[name]; failed(new Error(`${name}.js cannot be loaded.`)) }
      document.head.append(script)
    })
  }

  globalThis.listen = {url, give: (name, content) => waiting[name](content)}

  async function start(place) {
    if (place.dataset.started) return
    place.dataset.started = true
    try {
      const page = (await import(url(place.dataset.listen))).default
      await page(place, {text: name => sources[name], load, colours})
    } catch (e) {
      place.append(`This part of the page cannot be shown: ${e.message}`)
      throw e
    }
  }

  for (const place of document.querySelectorAll('[data-listen]')) {
    const fold = place.closest('details')
    if (!fold || fold.open) start(place)
    else fold.addEventListener('toggle', () => start(place))
  }
}
