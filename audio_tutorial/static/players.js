// A cursor that runs along a picture while its sound plays. A click in the
// picture, or a key on the cursor, takes the sound there. The script may be
// in a page many times: it sees to each picture once.
(() => {
  const calm = matchMedia('(prefers-reduced-motion: reduce)')
  const slack = 0.1 // seconds that an MP3 is longer than its clip, at most
  const between = (low, x, high) => Math.min(high, Math.max(low, x))

  function overlay(picture) { // over one time axis, with the line in it
    const area = picture.appendChild(document.createElement('div'))
    area.className = 'sound-axes'
    area.appendChild(document.createElement('span')).hidden = true
    return area
  }

  function follow(picture) {
    const image = picture.querySelector('img')
    const audio = picture.nextElementSibling?.querySelector('audio')
    if (!image || !audio) return
    picture.dataset.live = ''
    const axes = JSON.parse(picture.dataset.axes)
    const start = Number(audio.dataset.start ?? 0)
    const areas = axes.map(() => overlay(picture)), slider = areas[0]
    for (const area of areas) area.setAttribute('aria-hidden', true)
    slider.removeAttribute('aria-hidden')
    slider.tabIndex = 0
    slider.role = 'slider'
    slider.ariaLabel = `Position in the sound: ${audio.ariaLabel}`
    slider.dataset.lmSuppressShortcuts = true // JupyterLab's own keys

    function inside() { // the image without border and padding
      const style = getComputedStyle(image)
      const [top, right, bottom, left] = ['Top', 'Right', 'Bottom', 'Left']
        .map(side => parseFloat(style[`padding${side}`]))
      return {x: image.clientLeft + left, y: image.clientTop + top,
              width: image.clientWidth - left - right,
              height: image.clientHeight - top - bottom}
    }

    function fit() { // the areas to the picture, whatever its size
      const box = inside()
      axes.forEach(([left, top, width, height], i) => {
        const style = areas[i].style
        style.left = `${image.offsetLeft + box.x + left*box.width}px`
        style.top = `${image.offsetTop + box.y + top*box.height}px`
        style.width = `${width*box.width}px`
        style.height = `${height*box.height}px`
      })
    }

    function move() {
      const at = start + audio.currentTime
      const begun = audio.currentTime > 0 || !audio.paused
      axes.forEach(([, , , , first, last], i) => {
        const line = areas[i].firstChild
        const part = (at - first)/(last - first)
        line.style.left = `${100*between(0, part, 1)}%`
        line.hidden = !begun || at < first - slack || at > last + slack
      })
      slider.ariaValueMin = 0
      slider.ariaValueMax = (audio.duration || 0).toFixed(2)
      slider.ariaValueNow = audio.currentTime.toFixed(2)
      slider.ariaValueText = `${at.toFixed(1)} seconds`
    }

    function run() { // a calm cursor moves with each `timeupdate` alone
      move()
      if (!audio.paused && !calm.matches) requestAnimationFrame(run)
    }

    function seek(time) { // false for a time outside of the sound
      if (time < -slack || time > audio.duration + slack) return false
      audio.currentTime = between(0, time, audio.duration || time)
      return true
    }

    const play = () => audio.play().catch(() => {})

    picture.addEventListener('click', event => {
      const outer = image.getBoundingClientRect(), box = inside()
      const x = (event.clientX - outer.left - box.x)/box.width
      const y = (event.clientY - outer.top - box.y)/box.height
      const i = axes.findIndex(([left, top, width, height]) =>
        x >= left && x <= left + width && y >= top && y <= top + height)
      if (i < 0) return
      const [left, , width, , first, last] = axes[i]
      if (seek(first + (x - left)/width*(last - first) - start)) play()
    })

    slider.addEventListener('keydown', event => {
      const now = audio.currentTime, all = audio.duration || 0
      const step = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1,
                    PageUp: 10, PageDown: -10}[event.key]
      if (step) seek(between(0, now + step*all/40, all))
      else if (event.key === 'Home') seek(0)
      else if (event.key === 'End') seek(all)
      else if (![' ', 'Enter'].includes(event.key)) return
      else if (audio.paused) play()
      else audio.pause()
      event.preventDefault()
    })

    audio.addEventListener('play', () => { // one sound at a time
      for (const other of document.querySelectorAll('.sound-picture + * audio'))
        if (other !== audio) other.pause()
      run()
    })
    for (const event of ['seeking', 'pause', 'timeupdate', 'durationchange'])
      audio.addEventListener(event, move)
    const sizes = new ResizeObserver(fit)
    sizes.observe(image, {box: 'border-box'})
    sizes.observe(picture)
    fit()
    move()
  }

  document.querySelectorAll('.sound-picture:not([data-live])').forEach(follow)
})()
