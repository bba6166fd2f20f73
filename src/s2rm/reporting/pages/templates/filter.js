// Show the cards that have all chosen values.
const form = document.querySelector("form");
const cards = [...document.querySelectorAll(".cards li")];
const count = document.querySelector("output");
function show() {
  const chosen = [...form.querySelectorAll("select")].filter((each) => each.value);
  let shown = 0;
  for (const card of cards) {
    card.hidden = !chosen.every((each) => card.dataset[each.name].split("|").includes(each.value));
    shown += !card.hidden;
  }
  count.textContent = `${shown} of ${cards.length} shown`;
}
form.addEventListener("change", show);
form.addEventListener("reset", () => setTimeout(show));
show();
