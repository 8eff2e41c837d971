// The gallery's tiles. Everything from people is set as text or as an attribute, never as markup.
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
    button.className = "tile"
    button.dataset.id = id
    const image = document.createElement("img")
    image.loading = "lazy"
    image.decoding = "async"
    image.onerror = () => button.classList.add("broken")
    const caption = document.createElement("span")
    caption.className = "caption"
    const star = document.createElement("span")
    star.className = "star"
    star.textContent = "★"
    star.setAttribute("aria-hidden", "true")
    button.append(image, caption, star)
    return button
  }

  function fill(button, tile) {
    const image = button.querySelector("img")
    if (image.getAttribute("src") !== tile.src) image.src = tile.src
    image.alt = tile.alt
    image.width = tile.width
    image.height = tile.height
    button.querySelector(".caption").textContent = tile.caption
    button.querySelector(".star").hidden = !tile.favourite
    button.title = tile.alt
  }
}
