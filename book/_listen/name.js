// Name this sound: the small network of chapter 20 classifies it in the page.
import {bytesOf, field, make, percent, RATE, sources, spectrogram} from './controls.js'
import {logMel} from './sound.js'

const MOST = 60, STEP = 1 // seconds: the longest sound, and from one window to the next
const megabytes = bytes => `${(bytes/1e6).toFixed(1)} MB`

const blob = (content, type) => URL.createObjectURL(new Blob([content], {type}))

async function unzip(base64) {
  const stream = new Blob([bytesOf(base64)]).stream().pipeThrough(new DecompressionStream('gzip'))
  return new Response(stream).arrayBuffer()
}

// The network, ready to run. From disk a page can fetch nothing, so the runtime gets its two parts as blobs.
async function start(load) {
  const runtime = await load('runtime')
  if (!runtime) throw new Error('onnxruntime-web was not there when this copy of the book was built. ' +
    'Run make setup with a network, then make book.')
  const script = make('script', {textContent: runtime.script})
  document.head.append(script)
  const {ort} = globalThis
  ort.env.wasm.numThreads = 1 // more need headers that a plain web server does not send
  ort.env.wasm.wasmPaths = {mjs: blob(runtime.mjs, 'text/javascript'), wasm: blob(await unzip(runtime.wasm), 'application/wasm')}
  const session = await ort.InferenceSession.create(new Uint8Array(await unzip(await load('network'))), {executionProviders: ['wasm']})
  return async picture => { // probabilities of a spectrogram
    const x = new ort.Tensor('float32', picture.db, [1, 1, picture.n_rows, picture.n_frames])
    return [...(await session.run({spectrograms: x})).probabilities.data]
  }
}

const scaled = ({db, ...rest}, {top_db}) => ({...rest, db: db.map(x => 1 + x*2/top_db)}) // −top_db … 0 to −1 … 1

export default async function name(place, {load, colours}) {
  const sounds = await load('sounds'), picture = spectrogram(colours)
  const button = make('button', {type: 'button', disabled: true}, 'Name this sound')
  const headline = make('p.listen-answer', {role: 'status'}), cost = make('p.listen-size')
  const bars = make('div.listen-bars'), strip = make('div.listen-strip', {role: 'img', hidden: true})
  const threshold = make('input', {type: 'range', min: 0, max: 100, step: 5, value: 30})
  const when = make('input', {type: 'range', min: 0, max: 0, step: STEP, value: 0})
  const time = field('Window', when, x => `from ${x} s`)
  let classifier = null, ask = null, now = null, answers = [], turn = 0
  time.hidden = true

  const cut = start => { // a window, with silence after the end
    const samples = new Float32Array(classifier.duration*RATE)
    samples.set(now.samples.subarray(start*RATE, start*RATE + samples.length))
    return samples
  }

  function show() { // the chosen window: its picture, and what the network predicts
    const samples = cut(+when.value), {settings, vocab} = classifier, p = answers[when.value/STEP]
    picture.hear(samples)
    picture.show(logMel(samples, settings), settings, now.name)
    if (!p) return
    const best = p.indexOf(Math.max(...p)), sure = p[best] >= threshold.value/100
    headline.textContent = sure ? `${vocab[best]}, ${percent(p[best])}` :
      `Rejected: the likeliest family, ${vocab[best]}, has ${percent(p[best])}, and the threshold is ${threshold.value} %.`
    place.dataset.label = vocab[best]
    place.dataset.probabilities = JSON.stringify(p)
    bars.replaceChildren(...vocab.map((label, i) => make('div', {}, make('span', {}, label),
      make('span.listen-bar', {style: `--part:${p[i]}`, ariaHidden: true}), make('span', {}, percent(p[i])))))
  }

  function over() { // all windows: a row for each label, darker where it is likelier
    const {vocab} = classifier
    strip.hidden = time.hidden = answers.length < 2
    if (strip.hidden) return
    const said = answers.map((p, i) => `${i*STEP} s: ${vocab[p.indexOf(Math.max(...p))]}`)
    strip.ariaLabel = `The likeliest label of each window. ${said.join(', ')}`
    strip.style.setProperty('--columns', answers.length)
    strip.replaceChildren(...vocab.flatMap((label, i) =>
      [make('span', {}, label), ...answers.map(p => make('i', {style: `--part:${p[i]}`}))]))
  }

  async function answer() {
    const own = ++turn, n = Math.max(1, 1 + Math.ceil((now.samples.length/RATE - classifier.duration)/STEP))
    const found = [], begin = performance.now()
    for (let i = 0; i < n; i++) {
      found.push(await ask(scaled(logMel(cut(i*STEP), classifier.settings), classifier.settings)))
      if (i % 4 === 3) await new Promise(done => setTimeout(done)) // the page stays alive
      if (own !== turn) return
    }
    answers = found
    place.dataset.answered = n
    over()
    show()
    const ms = Math.round((performance.now() - begin)/n)
    cost.textContent = `${ms} ms for ${classifier.duration} s of sound, spectrogram included. ${place.dataset.cost}`
  }

  async function begin() {
    button.disabled = true
    headline.textContent = 'Loading the network …'
    const since = performance.now()
    try { ask = await start(load) }
    catch (e) {
      headline.textContent = `The network cannot be loaded. ${e.message}`
      return
    }
    place.dataset.cost = `Loading ${megabytes(classifier.bytes)} took ${((performance.now() - since)/1000).toFixed(1)} s.`
    button.hidden = true
    await answer()
  }

  const source = sources(sounds, load, MOST, sound => {
    now = sound
    answers = []
    when.max = Math.max(0, Math.ceil((now.samples.length/RATE - classifier.duration)/STEP))*STEP
    when.value = 0
    when.tell()
    button.disabled = false
    show()
    if (ask) answer()
  })
  threshold.addEventListener('input', show)
  when.addEventListener('input', show)
  button.addEventListener('click', begin)
  source.drop(place)
  classifier = await load('classifier')
  if (!classifier) return place.replaceChildren('This copy of the book was built without chapter 20, which trains the network.')
  button.textContent += ` (loads ${megabytes(classifier.bytes)}, once)`
  place.replaceChildren(source.place, source.say, button, headline, bars, strip, time,
    field('Reject predictions below', threshold, x => `${x} %`), make('h2', {}, 'What the network gets'), picture.place, cost)
  await source.choose()
}
