// The spectrogram lab: a picture that follows its settings.
import {choice, field, make, RATE, sources, spectrogram} from './controls.js'

const MOST = 30 // seconds
const number = x => x.toLocaleString('en')
const article = {n_fft: 1024, hop_length: 256, n_mels: 40, f_min: 20, f_max: 8000, top_db: 80, window: 'hann'}
const presets = {
  article: ['The article’s', article],
  time: ['Sharp in time', {...article, n_fft: 128, hop_length: 32, n_mels: null, f_min: 0}],
  frequency: ['Sharp in frequency', {...article, n_fft: 4096, hop_length: 256, n_mels: null, f_min: 0}],
}

// A worker that makes spectrograms; while it works, only the latest wish waits. From disk a worker cannot be a module, so
// it gets the functions of one as a plain script.
function calculator(text, show, fail) {
  const source = `${text.replaceAll(/^export /gm, '')}
    let samples
    onmessage = ({data}) => {
      samples = data.samples ?? samples
      const start = performance.now(), made = logMel(samples, data.settings)
      postMessage({...made, ms: performance.now() - start}, [made.db.buffer])
    }`
  const worker = new Worker(URL.createObjectURL(new Blob([source], {type: 'text/javascript'})))
  let asked = null, next = null
  function send(wish) {
    asked = wish
    next = null
    worker.postMessage(wish)
  }
  worker.onerror = event => {
    asked = null
    fail(event.message)
  }
  worker.onmessage = ({data}) => {
    const done = asked, other = next?.samples // then what was made is of a sound that is gone
    asked = null
    if (next) send(next)
    if (!other) show(data, done.settings)
  }
  return wish => {
    if (asked) next = {samples: next?.samples, ...wish}
    else send(wish)
  }
}

function controls(changed) {
  const power = (low, high) => make('input', {type: 'range', min: low, max: high, step: 1})
  const range = (min, max, step) => make('input', {type: 'range', min, max, step})
  const ms = exponent => `${number(2**exponent)} samples, ${+(1000*2**exponent/RATE).toPrecision(3)} ms`
  const inputs = {n_fft: power(6, 12), hop_length: power(4, 11), window: choice({hann: 'Hann', hamming: 'Hamming', none: 'None'}),
    rows: choice({mel: 'Mel bands', linear: 'All bins of the FFT'}), n_mels: range(8, 128, 4), f_min: range(0, 4000, 20),
    f_max: range(500, 8000, 100), top_db: range(20, 120, 5)}
  const hz = x => `${number(+x)} Hz`
  const place = make('div.listen-controls', {}, field('Frame', inputs.n_fft, ms), field('Hop', inputs.hop_length, ms),
    field('Window', inputs.window), field('Rows', inputs.rows), field('Mel bands', inputs.n_mels, x => x),
    field('Lowest frequency, f_min', inputs.f_min, hz), field('Highest frequency, f_max', inputs.f_max, hz),
    field('Floor', inputs.top_db, x => `−${x} dB`))

  function settings() {
    const n = Object.fromEntries(Object.entries(inputs).map(([key, input]) => [key, +input.value]))
    const mel = inputs.rows.value === 'mel'
    return {sample_rate: RATE, n_fft: 2**n.n_fft, hop_length: 2**n.hop_length, window: inputs.window.value,
      n_mels: mel ? n.n_mels : null, f_min: n.f_min, f_max: n.f_max, top_db: n.top_db}
  }

  function set(s) {
    inputs.rows.value = s.n_mels ? 'mel' : 'linear'
    for (const key of ['n_mels', 'f_min', 'f_max', 'top_db', 'window']) if (s[key] !== null) inputs[key].value = s[key]
    for (const key of ['n_fft', 'hop_length']) inputs[key].value = Math.log2(s[key])
    for (const input of Object.values(inputs)) input.tell?.()
    inputs.n_mels.disabled = !s.n_mels
  }

  place.addEventListener('input', ({target}) => {
    inputs.n_mels.disabled = inputs.rows.value !== 'mel'
    const {f_min, f_max} = inputs, apart = 300 // Hz, so that even the shortest frame has a bin between them
    if (f_max.value - f_min.value < apart) {
      if (target === f_min) f_max.value = +f_min.value + apart
      else f_min.value = f_max.value - apart
      for (const input of [f_min, f_max]) input.tell()
    }
    changed()
  })
  return {place, settings, set}
}

export default async function lab(place, {text, load, colours}) {
  const sounds = await load('sounds'), picture = spectrogram(colours), size = make('p.listen-size', {role: 'status'})
  let now = null, name = ''
  const ask = calculator(text('sound'), (made, settings) => {
    picture.show(made, settings, name)
    const {n_rows, n_frames, empty, ms} = made
    size.textContent = `${number(n_rows)} rows × ${number(n_frames)} frames, computed in ${Math.max(1, Math.round(ms))} ms.` +
      (empty ? ` ${empty} of the bands are so narrow that no bin of the FFT falls into them: they stay dark.` : '')
    place.dataset.shown = JSON.stringify(settings)
  }, message => size.textContent = `The picture cannot be computed: ${message}`)
  const panel = controls(() => now && ask({settings: panel.settings()}))
  const buttons = Object.entries(presets).map(([key, [label, s]]) => {
    const button = make('button', {type: 'button'}, label)
    button.addEventListener('click', () => {
      panel.set(s)
      if (now) ask({settings: panel.settings()})
    })
    return button
  })
  const source = sources(sounds, load, MOST, sound => {
    ;({samples: now, name} = sound)
    picture.hear(now)
    ask({samples: now, settings: panel.settings()})
  })
  panel.set((presets[place.dataset.preset] ?? presets.article)[1])
  source.drop(place)
  place.replaceChildren(source.place, source.say, picture.place, size,
    make('div.listen-buttons', {role: 'group', ariaLabel: 'Settings of the book'}, ...buttons), panel.place)
  await source.choose()
}
