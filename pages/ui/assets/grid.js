// The gallery's tiles. Everything from people is set as text or as an attribute, never as markup.
const BROKEN = "This picture can't be shown. Open it to see what can be done."

export default function ({ data, parentElement, setTriggerValue }) {
  const grid = parentElement.querySelector(".grid")
  const wanted = new Set(data.tiles.map((tile) => tile.id))
  for (const old of [...grid.children]) {
    if (!wanted.has(old.dataset.id)) old.remove()
  }
  data.tiles.forEach((tile, place) => {
    const known = [...grid.children].find((child) => child.dataset.id === tile.id)
    const button = known ?? makeTile(tile.id)
    fill(button, tile)
    button.onclick = () => setTriggerValue("open", tile.id)
    if (grid.children[place] !== button) grid.insertBefore(button, grid.children[place] ?? null)
  })

  function makeTile(id) {
    const button = document.createElement("button")
    button.type = "button"
    button.className = "tile loading"
    button.dataset.id = id
    const image = document.createElement("img")
    image.loading = "lazy"
    image.decoding = "async"
    image.onload = () => button.classList.remove("loading")
    image.onerror = () => {
      button.classList.replace("loading", "broken")
      words.textContent = BROKEN
    }
    const words = makeSpan("broken-words")
    const star = makeSpan("star", "★")
    star.setAttribute("role", "img")
    star.setAttribute("aria-label", "Favourite")
    const frame = makeSpan("frame")
    frame.append(image, words, star)
    button.append(frame, makeSpan("caption"))
    return button
  }

  function makeSpan(name, words = "") {
    const span = document.createElement("span")
    span.className = name
    span.textContent = words
    return span
  }

  function fill(button, tile) {
    const image = button.querySelector("img")
    // What couldn't be had a moment ago may be there now.
    const again = button.classList.contains("broken")
    if (again || image.getAttribute("src") !== tile.src) {
      button.classList.remove("broken")
      button.querySelector(".broken-words").textContent = ""
      button.classList.add("loading")
      image.src = tile.src
    }
    image.alt = tile.alt
    image.width = tile.width
    image.height = tile.height
    button.querySelector(".caption").textContent = tile.caption
    button.querySelector(".star").hidden = !tile.favourite
    button.title = tile.alt
  }
}
