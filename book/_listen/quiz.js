// You against the network: ten notes of instruments that the network has never heard.
import {bytesOf, make, percent} from './controls.js'

const count = (notes, who) => notes.filter(note => note[who] === note.family).length

export default async function quiz(place, {load}) {
  const begin = make('button', {type: 'button'}, 'Start')
  const stage = make('div'), score = make('p.listen-answer', {role: 'status'})
  let data

  function ask(i) {
    const note = data.notes[i], after = make('p', {role: 'status'})
    const sound = URL.createObjectURL(new Blob([bytesOf(note.file)], {type: 'audio/flac'}))
    const audio = make('audio', {controls: true, src: sound, ariaLabel: `Note ${i + 1}`})
    const families = data.families.map(family => {
      const button = make('button', {type: 'button'}, family)
      button.addEventListener('click', () => answer(family, button))
      return button
    })
    const next = make('button', {type: 'button', hidden: true}, i + 1 < data.notes.length ? 'Next note' : 'The result')

    function answer(family, button) {
      note.you = family
      button.setAttribute('aria-pressed', true)
      for (const other of families) other.disabled = true
      after.textContent = `${family === note.family ? 'Right' : 'No'}: it is ${note.family}. ` +
        `The network says ${note.network}, ${percent(note.probability)}.`
      score.textContent = told(data.notes.slice(0, i + 1))
      next.hidden = false
      next.focus()
    }

    next.addEventListener('click', () => i + 1 < data.notes.length ? ask(i + 1) : result())
    const title = make('h2', {tabIndex: -1}, `Note ${i + 1} of ${data.notes.length}`)
    stage.replaceChildren(title, make('div.listen-picture', {}, audio),
      make('div.listen-buttons', {role: 'group', ariaLabel: 'Families'}, ...families), after, next)
    title.focus()
    audio.play().catch(() => {})
  }

  const told = notes => `You: ${count(notes, 'you')} of ${notes.length}. The network: ${count(notes, 'network')} of ${notes.length}.`

  function result() {
    const {notes} = data, shared = notes.filter(n => n.you === n.network && n.you !== n.family)
    const own = notes.filter(n => n.you !== n.family && n.network === n.family)
    const its = notes.filter(n => n.network !== n.family && n.you === n.family)
    const list = (title, which, what) => which.length ? [make('h3', {}, title),
      make('ul', {}, ...which.map(n => make('li', {}, what(n))))] : []
    const row = (kind, ...cells) => make('tr', {}, ...cells.map(cell => make(kind, {}, String(cell))))
    const title = make('h2', {tabIndex: -1}, 'The result')
    stage.replaceChildren(title, make('p', {}, 'Guessing gets about one of ten.'),
      ...list('Confusions that you share', shared, n => `You both took ${n.family} for ${n.you}.`),
      ...list('Yours alone', own, n => `You took ${n.family} for ${n.you}.`),
      ...list('The network’s alone', its, n => `It took ${n.family} for ${n.network}.`),
      make('div.listen-table', {tabIndex: 0, role: 'region', ariaLabel: 'All answers'},
        make('table', {}, make('thead', {}, row('th', 'Note', 'It is', 'You', 'The network')),
        make('tbody', {}, ...notes.map((n, i) => row('td', i + 1, n.family, n.you, `${n.network}, ${percent(n.probability)}`))))),
      begin)
    begin.textContent = 'Once more'
    title.focus()
  }

  begin.addEventListener('click', async () => {
    data = await load('quiz')
    score.textContent = ''
    if (data) ask(0)
    else stage.textContent = 'This copy of the book was built without chapter 13, where the notes come from.'
  })
  stage.append(begin)
  place.replaceChildren(score, stage)
}
