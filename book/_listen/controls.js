// What the pages that listen have in common: a sound that is chosen, dropped or recorded, and its picture.
import {frequencies, noteAt, resample, toMel} from './sound.js'

export const RATE = 16000 // of all sounds, in Hz, as in the book

// An element: `make('p.note', {hidden: true}, 'some ', 'text')`
export function make(kind, given = {}, ...inside) {
  const [tag, ...classes] = kind.split('.'), element = document.createElement(tag)
  element.className = classes.join(' ')
  for (const [key, value] of Object.entries(given))
    if (key in element) element[key] = value
    else element.setAttribute(key, value)
  element.append(...inside)
  return element
}

export const percent = p => `${Math.round(100*p)} %`
export const bytesOf = base64 => Uint8Array.from(atob(base64), c => c.charCodeAt(0))

// A slider or a list with its label, and what it shows of its value
export function field(label, input, show = null) {
  const output = make('output')
  input.ariaLabel ??= label
  const tell = () => {
    output.value = show(input.value)
    input.ariaValueText = output.value
  }
  if (show) {
    input.addEventListener('input', tell)
    input.tell = tell
    tell()
  }
  return make('label.listen-field', {}, make('span', {}, label), output, input)
}

export const choice = options => make('select', {},
  ...Object.entries(options).map(([value, text]) => make('option', {value}, text)))

// ---- from a file to samples ----

const text = (bytes, from, n) => String.fromCharCode(...bytes.subarray(from, from + n))

// The sample rate that a file's header names. Browsers resample whatever they decode to the rate they are asked for, and
// not well, so they are asked for the file's own. Where no rate is found, 48,000 Hz loses nothing that 16,000 Hz keeps.
export function rateOf(bytes) {
  const at = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const find = (word, end = 4096) => {
    for (let i = 0; i < Math.min(end, bytes.length - 32); i++)
      if (bytes[i] === word.charCodeAt(0) && text(bytes, i, word.length) === word) return i
    return -1
  }
  let i
  if (text(bytes, 0, 4) === 'RIFF' && (i = find('fmt ')) > 0) return at.getUint32(i + 12, true)
  if (text(bytes, 0, 4) === 'fLaC') return at.getUint32(18) >>> 12
  if (text(bytes, 0, 4) === 'OggS') return (i = find('\x01vorbis')) > 0 ? at.getUint32(i + 12, true) : 48000
  if (text(bytes, 4, 4) === 'ftyp') return (i = find('mp4a', bytes.length)) > 0 ? at.getUint16(i + 28) : 48000
  i = 0
  if (text(bytes, 0, 3) === 'ID3') i = 10 + [6, 7, 8, 9].reduce((n, j) => n << 7 | bytes[j], 0)
  if (bytes[i] === 0xff && (bytes[i + 1] & 0xe6) === 0xe2) { // MPEG audio, layer III
    const version = bytes[i + 1] >> 3 & 3, rate = [44100, 48000, 32000][bytes[i + 2] >> 2 & 3]
    if (rate) return rate/{3: 1, 2: 2, 0: 4}[version]
  }
  return 48000
}

export async function decode(bytes) { // `{samples, rate}`, mono; an Error says in words what is wrong
  if (bytes.length > 300e6) throw new Error('It has more than 300 MB, too much for a page. Cut out a part of it first.')
  let rate = rateOf(bytes), context
  try { context = new OfflineAudioContext(1, 1, rate) } catch { context = new OfflineAudioContext(1, 1, rate = 48000) }
  let sound
  try { sound = await context.decodeAudioData(bytes.slice().buffer) }
  catch { throw new Error('This browser cannot decode it. WAV, FLAC and MP3 work in all browsers.') }
  return {rate, seconds: sound.duration, sound}
}

function mono(sound, n) { // the mean of the channels of the first n samples
  const samples = sound.getChannelData(0).slice(0, n)
  for (let c = 1; c < sound.numberOfChannels; c++)
    sound.getChannelData(c).subarray(0, n).forEach((x, i) => samples[i] += x)
  return samples.map(x => x/sound.numberOfChannels)
}

const number = x => Math.round(x).toLocaleString('en')

// Samples at 16,000 Hz of the first `most` seconds, and sentences about what is unusual
export async function load(bytes, most) {
  const {rate, seconds, sound} = await decode(bytes), said = []
  if (!sound.length) throw new Error('It holds no samples.')
  if (seconds > most) said.push(`It is ${clock(seconds)} long. You see and hear its first ${most} seconds.`)
  if (rate < RATE) said.push(`It was sampled at ${number(rate)} Hz, so there is nothing above ${number(rate/2)} Hz.`)
  if (rate > RATE) said.push(`It was resampled from ${number(rate)} Hz to ${number(RATE)} Hz, as chapter 1 does.`)
  return {samples: resample(mono(sound, Math.ceil(most*rate)), rate, RATE), said}
}

const clock = s => `${Math.floor(s/60)}:${String(Math.floor(s % 60)).padStart(2, '0')} min`

// ---- the microphone ----

const refused = {
  NotAllowedError: 'The browser may not use the microphone. Allow it in the address bar, or choose a sound.',
  NotFoundError: 'No microphone was found. Connect one, or choose a sound.',
  NotReadableError: 'Another program is using the microphone. Close it, or choose a sound.',
}

const recorder = `registerProcessor('recorder', class extends AudioWorkletProcessor {
  process([[channel]]) { if (channel) this.port.postMessage(channel.slice()); return true } })`

// Record until `signal` says stop, or for `most` seconds: `{samples, rate}` as the microphone delivers them
export async function record(signal, most, tell) {
  if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode)
    throw new Error('This browser gives a page without https no microphone. Choose a sound instead.')
  let stream
  try {
    stream = await navigator.mediaDevices.getUserMedia(
      {audio: {echoCancellation: false, noiseSuppression: false, autoGainControl: false}})
  } catch (e) { throw new Error(refused[e.name] ?? `The microphone cannot be used: ${e.message}`) }
  const context = new AudioContext(), parts = []
  try {
    await context.audioWorklet.addModule(URL.createObjectURL(new Blob([recorder], {type: 'text/javascript'})))
    const node = new AudioWorkletNode(context, 'recorder')
    context.createMediaStreamSource(stream).connect(node)
    await context.resume()
    await new Promise(done => {
      signal.addEventListener('abort', done)
      let n = 0
      node.port.onmessage = ({data}) => {
        parts.push(data)
        n += data.length
        tell(n/context.sampleRate)
        if (n >= most*context.sampleRate) done()
      }
    })
  } finally {
    for (const track of stream.getTracks()) track.stop()
    context.close()
  }
  const samples = new Float32Array(parts.reduce((n, part) => n + part.length, 0))
  parts.reduce((n, part) => (samples.set(part, n), n + part.length), 0)
  return {samples, rate: context.sampleRate}
}

// ---- choose, drop or record ----

// The part of a page where a sound comes from: one of the book's, by its name and from `data`, or the reader's.
// `take({samples, name})` gets each; `most` is the longest, in seconds.
export function sources(names, data, most, take) {
  const say = make('p.listen-said', {role: 'status'})
  const list = choice(Object.fromEntries(names.map((name, i) => [i, name])))
  const file = make('input', {type: 'file', accept: 'audio/*,video/mp4', ariaLabel: 'A sound file of yours'})
  const button = make('button', {type: 'button'}, 'Record')
  const place = make('div.listen-sources', {},
    field('Sound', list), make('label.listen-field', {}, make('span', {}, 'Or a file, which you can also drop here'), file),
    button)
  let turn = 0, stop = null

  async function get(name, work) { // only the last one that was asked for counts
    const own = ++turn
    say.textContent = `Reading ${name} …`
    let found
    try { found = await work() }
    catch (e) {
      if (own === turn) say.textContent = `${name}: ${e.message}`
      return
    }
    if (own !== turn) return
    const {samples, said} = found
    if (!samples.some(x => x)) {
      say.textContent = `${name} is silent: all its samples are 0, so there is no loudest point to compare with.`
      return
    }
    say.textContent = said.join(' ')
    take({samples, name})
  }

  const choose = () => get(names[list.value], async () => load(bytesOf(await data(`sound${list.value}`)), most))
  const open = given => given && get(given.name, async () => load(new Uint8Array(await given.arrayBuffer()), most))

  async function speak() {
    if (stop) return stop.abort()
    stop = new AbortController()
    button.textContent = 'Stop'
    await get('Your recording', async () => {
      const tell = s => button.textContent = `Stop (${s.toFixed(1)} s of ${most})`
      const {samples, rate} = await record(stop.signal, most, tell)
      if (!samples.length) throw new Error('It was stopped before it began.')
      return {samples: resample(samples, rate, RATE), said: ['The recording stays in this page.']}
    })
    stop = null
    button.textContent = 'Record'
  }

  list.addEventListener('change', choose)
  file.addEventListener('change', () => open(file.files[0]))
  button.addEventListener('click', speak)
  const drop = target => {
    target.addEventListener('dragover', event => event.preventDefault())
    target.addEventListener('drop', event => {
      event.preventDefault()
      open(event.dataTransfer.files[0])
    })
  }
  return {place, say, choose, drop}
}

// ---- the picture ----

function wavOf(samples) { // a WAV file of 16 bits, for the player
  const bytes = new DataView(new ArrayBuffer(44 + 2*samples.length))
  const words = {0: 'RIFF', 8: 'WAVE', 12: 'fmt ', 36: 'data'}
  for (const [at, word] of Object.entries(words))
    for (let i = 0; i < 4; i++) bytes.setUint8(+at + i, word.charCodeAt(i))
  bytes.setUint32(4, 36 + 2*samples.length, true)
  bytes.setUint32(16, 16, true)
  bytes.setUint16(20, 1, true) // samples as integers
  bytes.setUint16(22, 1, true) // one channel
  bytes.setUint32(24, RATE, true)
  bytes.setUint32(28, 2*RATE, true)
  bytes.setUint16(32, 2, true)
  bytes.setUint16(34, 16, true)
  bytes.setUint32(40, 2*samples.length, true)
  samples.forEach((x, i) => bytes.setInt16(44 + 2*i, Math.max(-32768, Math.min(32767, Math.round(x*32768))), true))
  return new Blob([bytes], {type: 'audio/wav'})
}

const step = (span, most) => [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000].find(s => span/s <= most) ?? 5000
const between = (low, x, high) => Math.min(high, Math.max(low, x))

// A spectrogram with axes, a player whose cursor runs along it, and what is under the pointer
export function spectrogram(colours) {
  const canvas = make('canvas'), cursor = make('span.listen-cursor', {hidden: true}), cross = make('span.listen-cross', {hidden: true})
  const frame = make('div.listen-frame', {tabIndex: 0, role: 'application', ariaRoleDescription: 'spectrogram'}, canvas, cursor, cross)
  const rows = make('div.listen-y', {ariaHidden: true}), columns = make('div.listen-x', {ariaHidden: true})
  const reading = make('p.listen-reading', {role: 'status'}, '\u00a0')
  const audio = make('audio', {controls: true, ariaLabel: 'The sound of the picture'})
  const place = make('div.listen-picture', {},
    make('div.listen-axes', {}, make('span.listen-unit', {ariaHidden: true}, 'Hz'), rows, frame, columns), reading, audio)
  const palette = bytesOf(colours), calm = matchMedia('(prefers-reduced-motion: reduce)')
  let made, settings, seconds, middles, at = [0, 0]

  function paint() { // several values on one pixel: the loudest
    const {db, n_rows, n_frames} = made
    const width = canvas.width = Math.min(n_frames, 1600), height = canvas.height = Math.min(n_rows, 1025)
    const image = new ImageData(width, height), level = new Float32Array(width*height).fill(-settings.top_db)
    for (let row = 0; row < n_rows; row++) {
      const y = height - 1 - Math.floor(row*height/n_rows)
      for (let k = 0; k < n_frames; k++) {
        const i = y*width + Math.floor(k*width/n_frames), value = db[row*n_frames + k]
        if (value > level[i]) level[i] = value
      }
    }
    level.forEach((value, i) => {
      const colour = 3*Math.round(255*(1 + value/settings.top_db))
      image.data.set([palette[colour], palette[colour + 1], palette[colour + 2], 255], 4*i)
    })
    canvas.getContext('2d').putImageData(image, 0, 0)
  }

  const y = hz => { // place on the axis, from 0 at the bottom to 1
    const scale = settings.n_mels ? toMel : f => f
    const first = scale(middles[0]), last = scale(middles.at(-1))
    return ((scale(hz) - first)/(last - first || 1)*(made.n_rows - 1) + 0.5)/made.n_rows
  }
  const x = time => (time*RATE/settings.hop_length + 0.5)/made.n_frames

  function axes() {
    const {f_min, f_max, n_mels} = settings, every = step(f_max - f_min, 6), marks = []
    for (let f = Math.ceil(f_min/every)*every; f <= f_max; f += every) marks.push(f)
    const shown = n_mels ? [50, 100, 200, 500, 1000, 2000, 4000, 8000] : marks
    let last = -1
    rows.replaceChildren(...shown.filter(f => y(f) >= 0 && y(f) <= 1 && y(f) - last > 0.08 && (last = y(f), true))
      .map(f => make('span', {style: `bottom:${100*y(f)}%`}, number(f))))
    const tick = step(seconds, 6), times = Array.from({length: Math.floor(seconds/tick + 1e-6) + 1}, (_, i) => i*tick)
    columns.replaceChildren(...times.filter(t => x(t) < 0.97).map(t =>
      make('span', {style: `left:${100*x(t)}%`}, t ? String(+t.toFixed(1)) : '0')), make('span.listen-unit', {}, 's'))
  }

  function read() { // say what is at the cross
    const [k, row] = at, hz = middles[row], level = made.db[row*made.n_frames + k]
    const note = noteAt(hz), floor = level <= -settings.top_db
    reading.textContent = `${(k*settings.hop_length/RATE).toFixed(3)} s, ${number(hz)} Hz${note && ` (near ${note})`}: ` +
      (floor ? `at the floor, −${settings.top_db} dB or less` : `${(Math.round(10*level)/10 || 0).toFixed(1).replace('-', '−')} dB`)
    cross.hidden = false
    cross.style.left = `${100*(k + 0.5)/made.n_frames}%`
    cross.style.bottom = `${100*(row + 0.5)/made.n_rows}%`
  }

  function move(k, row) {
    at = [between(0, k, made.n_frames - 1), between(0, row, made.n_rows - 1)]
    read()
  }

  const pointed = event => {
    const box = canvas.getBoundingClientRect()
    return [Math.floor((event.clientX - box.left)/box.width*made.n_frames),
            Math.floor((1 - (event.clientY - box.top)/box.height)*made.n_rows)]
  }
  const play = () => audio.paused ? audio.play().catch(() => {}) : audio.pause()
  const seek = k => audio.currentTime = between(0, k*settings.hop_length/RATE, audio.duration || 0)

  frame.addEventListener('pointermove', event => made && move(...pointed(event)))
  frame.addEventListener('pointerleave', () => cross.hidden = true)
  frame.addEventListener('click', event => {
    if (!made) return
    move(...pointed(event))
    seek(at[0])
    audio.play().catch(() => {})
  })
  frame.addEventListener('keydown', event => {
    if (!made || event.ctrlKey || event.metaKey || event.altKey) return
    const far = event.shiftKey ? 10 : 1
    const way = {ArrowRight: [far, 0], ArrowLeft: [-far, 0], ArrowUp: [0, far], ArrowDown: [0, -far],
                 Home: [-Infinity, 0], End: [Infinity, 0]}[event.key]
    if (way) move(at[0] + way[0], at[1] + way[1])
    else if (event.key === 'Enter') { seek(at[0]); audio.play().catch(() => {}) }
    else if (event.key === ' ') play()
    else return
    event.preventDefault()
  })

  function run() {
    cursor.hidden = !made || !(audio.currentTime > 0 || !audio.paused)
    if (made) cursor.style.left = `${100*between(0, x(audio.currentTime), 1)}%`
    if (!audio.paused && !calm.matches) requestAnimationFrame(run)
  }
  for (const event of ['play', 'seeking', 'pause', 'timeupdate']) audio.addEventListener(event, run)
  audio.addEventListener('play', () => {
    for (const other of document.querySelectorAll('audio')) if (other !== audio) other.pause()
  })

  return {
    place, audio, frame,
    hear(samples) { // give the player a sound
      URL.revokeObjectURL(audio.src)
      audio.src = URL.createObjectURL(wavOf(samples))
      seconds = samples.length/RATE
    },
    show(result, s, name) { // draw a spectrogram: what `logMel` gives, and its settings
      [made, settings, middles] = [result, s, frequencies(s)]
      paint()
      axes()
      run()
      frame.ariaLabel = `Spectrogram of ${name}, ${made.n_rows} rows and ${made.n_frames} frames. ` +
        'Arrow keys read it, Shift with them goes faster, Enter plays from there, Space plays and pauses.'
      canvas.setAttribute('aria-hidden', true)
      if (!cross.hidden) move(...at)
    },
  }
}
