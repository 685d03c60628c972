// From samples to a log-mel spectrogram, in the steps of chapters 2 to 4. No page is needed here, so a worker can do it.

// ---- one frame (chapter 2) ----

// Periodic windows: w[i] = a − (1 − a)·cos(2πi/n); a = 1/2 for Hann, 0.54 for Hamming, 1 for none.
const shapes = {hann: 0.5, hamming: 0.54, none: 1}
export const windowOf = (name, n) =>
  Float64Array.from({length: n}, (_, i) => shapes[name] - (1 - shapes[name])*Math.cos(2*Math.PI*i/n))

// Powers of a frame of n = 2^k samples, |X[k]|² for k = 0 … n/2, with X[k] = Σ x[i]·exp(−2πi·ik/n).
// Even samples are taken as real parts and odd ones as imaginary parts, so a complex FFT of half the length will do.
export function powerOf(n) {
  if (n < 4 || n & (n - 1)) throw new RangeError(`a frame must have 4, 8, 16, … samples, not ${n}`)
  const m = n/2, re = new Float64Array(m), im = new Float64Array(m)
  const cos = Float64Array.from({length: m}, (_, k) => Math.cos(2*Math.PI*k/n))
  const sin = Float64Array.from({length: m}, (_, k) => -Math.sin(2*Math.PI*k/n))
  const place = new Uint32Array(m) // indices with their bits in reverse order
  for (let i = 1; i < m; i++) place[i] = place[i >> 1] >> 1 | (i & 1 ? m >> 1 : 0)

  function fft() { // Cooley and Tukey, in place: butterflies over 2, 4, 8, … points
    for (let size = 2; size <= m; size *= 2)
      for (let start = 0; start < m; start += size)
        for (let j = 0, a = start, b = start + size/2, step = n/size; j < size/2; j++, a++, b++) {
          const c = cos[j*step], s = sin[j*step]
          const x = re[b]*c - im[b]*s, y = re[b]*s + im[b]*c
          re[b] = re[a] - x; im[b] = im[a] - y
          re[a] += x; im[a] += y
        }
  }

  return (frame, power) => {
    for (let i = 0; i < m; i++) {
      re[place[i]] = frame[2*i]
      im[place[i]] = frame[2*i + 1]
    }
    fft()
    power[0] = (re[0] + im[0])**2
    power[m] = (re[0] - im[0])**2
    for (let k = 1, r = m - 1; k < m; k++, r--) { // X[k] = even[k] + exp(−2πik/n)·odd[k]
      const evenRe = (re[k] + re[r])/2, evenIm = (im[k] - im[r])/2
      const oddRe = (im[k] + im[r])/2, oddIm = (re[r] - re[k])/2
      const x = evenRe + cos[k]*oddRe - sin[k]*oddIm
      const y = evenIm + cos[k]*oddIm + sin[k]*oddRe
      power[k] = x*x + y*y
    }
  }
}

// ---- bands (chapter 4) ----

// Slaney's mel: linear up to 1000 Hz, which is 15 mel, then logarithmic, 27 mel for a factor of 6.4.
export const toMel = f => f < 1000 ? f*3/200 : 15 + 27*Math.log(f/1000)/Math.log(6.4)
export const toHz = m => m < 15 ? m*200/3 : 1000*Math.exp((m - 15)*Math.log(6.4)/27)

const melPoints = s => { // lower end, middles and upper end of all bands
  const low = toMel(s.f_min), step = (toMel(s.f_max) - low)/(s.n_mels + 1)
  return Array.from({length: s.n_mels + 2}, (_, i) => toHz(low + i*step))
}

const binsInRange = s => { // without bands the rows are the bins from f_min to f_max
  const first = Math.ceil(s.f_min*s.n_fft/s.sample_rate)
  const last = Math.floor(Math.min(s.f_max*s.n_fft/s.sample_rate, s.n_fft/2))
  return Array.from({length: last - first + 1}, (_, i) => first + i)
}

export const frequencies = s => // in the middle of each row, in Hz
  s.n_mels ? melPoints(s).slice(1, -1) : binsInRange(s).map(bin => bin*s.sample_rate/s.n_fft)

// `{first, weights}` of each row: a triangle of area 1 over the bins from `first` on; empty where no bin falls into it.
export function filterbank(s) {
  if (!s.n_mels) return binsInRange(s).map(first => ({first, weights: [1]}))
  const points = melPoints(s), hz = s.sample_rate/s.n_fft
  return points.slice(1, -1).map((middle, i) => {
    const below = points[i], above = points[i + 2], weights = []
    const first = Math.floor(below/hz) + 1
    for (let f = first*hz; f < above && f <= s.sample_rate/2; f = (first + weights.length)*hz)
      weights.push(Math.min((f - below)/(middle - below), (above - f)/(above - middle))*2/(above - below))
    return {first, weights}
  })
}

// ---- all frames (chapter 3), in decibels ----

// Frame k is centred on sample k·hop_length, with zeros beyond the ends. Levels are 10·log10 of the power, relative to
// the maximum, cut off at −top_db. `db` holds row after row, the lowest first.
export function logMel(samples, s) {
  const rows = filterbank(s), n = 1 + Math.floor(samples.length/s.hop_length)
  const window = windowOf(s.window ?? 'hann', s.n_fft), power = powerOf(s.n_fft)
  const frame = new Float64Array(s.n_fft), bins = new Float64Array(s.n_fft/2 + 1)
  const db = new Float32Array(rows.length*n)
  const padded = new Float64Array(samples.length + 2*s.n_fft)
  padded.set(samples, s.n_fft/2)
  let max = -Infinity
  for (let k = 0, start = 0; k < n; k++, start += s.hop_length) {
    for (let i = 0; i < s.n_fft; i++) frame[i] = padded[start + i]*window[i]
    power(frame, bins)
    for (let row = 0; row < rows.length; row++) {
      const {first, weights} = rows[row]
      let sum = 0
      for (let j = 0; j < weights.length; j++) sum += weights[j]*bins[first + j]
      const level = db[row*n + k] = 10*Math.log10(Math.max(sum, 1e-10))
      if (level > max) max = level
    }
  }
  for (let i = 0; i < db.length; i++) db[i] = Math.max(db[i] - max, -s.top_db)
  const empty = rows.filter(row => !row.weights.length).length
  return {db, n_rows: rows.length, n_frames: n, empty}
}

// ---- another sample rate (chapter 1) ----

const gcd = (a, b) => b ? gcd(b, a % b) : a

function bessel(x) { // I₀(x) = Σ ((x/2)^k/k!)²
  let sum = 1, term = 1
  for (let k = 1; term > 1e-12*sum; k++) sum += term *= (x/2/k)**2
  return sum
}

// Each sample of the new rate is a sum of samples nearby, weighted by a sinc under a Kaiser window. The sinc cuts off at
// 95.5 % of half the lower rate and reaches over 64 zeros to each side; beyond half of it, everything is 90 dB lower.
export function resample(samples, from, to) {
  if (from === to) return samples
  const divisor = gcd(from, to), up = to/divisor, down = from/divisor
  const lower = Math.min(from, to), cut = 0.955*lower/from, beta = 9
  const half = Math.ceil(64*from/lower), taps = 2*half, filters = new Map()

  function filter(phase) { // weights of samples −half + 1 … half around a place `phase/up` behind sample 0
    const w = Float64Array.from({length: taps}, (_, i) => {
      const x = i - half + 1 - phase/up
      const sinc = x ? Math.sin(Math.PI*cut*x)/(Math.PI*cut*x) : 1
      return sinc*bessel(beta*Math.sqrt(Math.max(0, 1 - (x/half)**2)))
    })
    const sum = w.reduce((a, b) => a + b)
    return w.map(x => x/sum)
  }

  const made = new Float32Array(Math.ceil(samples.length*up/down))
  for (let i = 0; i < made.length; i++) {
    const phase = i*down % up, start = (i*down - phase)/up - half + 1
    let w = filters.get(phase), sum = 0
    if (!w) filters.set(phase, w = filter(phase))
    const first = Math.max(0, -start), last = Math.min(taps, samples.length - start)
    for (let j = first; j < last; j++) sum += w[j]*samples[start + j]
    made[i] = sum
  }
  return made
}

// ---- names of pitches ----

const names = ['C', 'C♯', 'D', 'D♯', 'E', 'F', 'F♯', 'G', 'G♯', 'A', 'A♯', 'B']
export function noteAt(hz) { // MIDI number 69 is A4, 440 Hz; twelve semitones double the frequency
  const midi = Math.round(69 + 12*Math.log2(hz/440))
  return midi < 12 ? '' : `${names[midi % 12]}${Math.floor(midi/12) - 1}`
}
