// The gallery's tiles. Text from users is set as text or as an attribute, never as HTML.
const BROKEN = "This image can't be shown. Open it to see why."

// Streamlit takes a closed dialog away some frames later, and with it the focus.
const CLOSED_MS = 1000

export default function ({ data, parentElement, setTriggerValue }) {
  const grid = parentElement.querySelector(".grid")
  const ids = new Set(data.tiles.map((tile) => tile.id))
  for (const button of [...grid.children]) {
    if (!ids.has(button.dataset.id)) button.remove()
  }
  data.tiles.forEach((tile, position) => {
    const known = [...grid.children].find((child) => child.dataset.id === tile.id)
    const button = known ?? makeTile(tile.id)
    fill(button, tile)
    button.onclick = () => {
      grid.dataset.closed = ""
      setTriggerValue("open", tile.id)
    }
    if (grid.children[position] !== button) grid.insertBefore(button, grid.children[position] ?? null)
  })
  returnFocus(data.closed)

  // Give the focus back to the tile of the image that was closed last, as soon as its dialog is gone.
  function returnFocus(id) {
    if (!id || grid.dataset.closed === id) return
    grid.dataset.closed = id
    const tile = [...grid.children].find((child) => child.dataset.id === id)
    const until = performance.now() + CLOSED_MS
    const focus = () => {
      const lost = document.activeElement === document.body
      if (lost) tile?.focus({ preventScroll: true })
      if (!lost && performance.now() < until) requestAnimationFrame(focus)
    }
    focus()
  }

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
      message.textContent = BROKEN
    }
    const message = makeSpan("broken-message")
    const star = makeSpan("star", "★")
    star.setAttribute("role", "img")
    star.setAttribute("aria-label", "Favourite")
    const frame = makeSpan("frame")
    frame.append(image, message, star)
    const caption = makeSpan("caption")
    caption.dir = "auto"
    // The image's alt says the same, and more.
    caption.ariaHidden = "true"
    button.append(frame, caption)
    return button
  }

  function makeSpan(name, text = "") {
    const span = document.createElement("span")
    span.className = name
    span.textContent = text
    return span
  }

  function fill(button, tile) {
    const image = button.querySelector("img")
    // Load a broken image again: the failure may have been temporary.
    const retry = button.classList.contains("broken")
    if (retry || image.getAttribute("src") !== tile.src) {
      button.classList.remove("broken")
      button.querySelector(".broken-message").textContent = ""
      button.classList.add("loading")
      image.src = tile.src
    }
    image.alt = tile.alt
    image.width = tile.width
    image.height = tile.height
    button.querySelector(".caption").textContent = tile.caption
    button.querySelector(".star").hidden = !tile.favourite
    button.querySelector(".frame").title = tile.alt
  }
}
