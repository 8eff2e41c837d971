// Keeps Streamlit's own dialogs and keyboard shortcuts from the users. Content-Security-Policy allows this
// script by its hash.

// The server's address. Without it, Streamlit would look for a server below each page's address first.
window.__streamlit = { BACKEND_BASE_URL: new URL(".", location).href }

// Streamlit draws a grey box for each element until the element's script is loaded, and most boxes have another
// size than the element. So theme.css hides the page until its first run has ended and no such box is left, or
// for LONGEST_HIDDEN milliseconds after its first element.
const LONGEST_HIDDEN = 5000
const html = document.documentElement
let begun = 0
html.classList.add("loading")
requestAnimationFrame(function look(now) {
  const app = document.querySelector(".stApp:has(.stElementContainer)")
  if (app) begun ||= now
  const ready = app?.dataset.testScriptState === "notRunning" && !app.querySelector('[data-testid="stSkeleton"]')
  if (ready || (begun && now - begun > LONGEST_HIDDEN)) html.classList.remove("loading")
  else requestAnimationFrame(look)
})

// A dialog of a page has a block of elements. Streamlit's own dialogs, such as "Connection error", have none.
// theme.css hides them. Close them too, because an open dialog keeps the keyboard from the page.
new MutationObserver(() => {
  document.querySelectorAll('.stDialog:not(:has([data-testid="stVerticalBlock"]))').forEach((dialog) =>
    dialog.querySelector('button[aria-label="Close"]')?.click())
}).observe(document.body, { childList: true })

// Streamlit runs the page again at R and offers to clear its caches at C. It listens at the document.
document.body.addEventListener("keydown", (event) => {
  const plain = !(event.ctrlKey || event.metaKey || event.altKey)
  if (plain && ["r", "c"].includes(event.key.toLowerCase())) event.stopPropagation()
})
