"use strict";
// Draws the charts whose specifications are in the page; the legends are ours, so that they wrap and take the keyboard.
const PHONE = 480;
const PHONE_HEIGHT = 220;
const drawn = [];

async function draw(figure) {
  const spec = JSON.parse(figure.querySelector("script").textContent);
  const place = figure.querySelector(".chart");
  if (figure.dataset.kind === "line" && place.clientWidth < PHONE) spec.height = PHONE_HEIGHT;
  const { view } = await vegaEmbed(place, spec, {
    mode: "vega-lite",
    renderer: "svg",
    actions: false,
    ast: true, // expressions are interpreted: the page's policy forbids eval
    tooltip: { disableDefaultStyle: true },
  });
  for (const button of figure.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
      const pressed = figure.querySelectorAll('.legend button[aria-pressed="true"]');
      view.signal("chosen", Array.from(pressed, (one) => one.dataset.series)).run();
    });
  }
  drawn.push(view);
}

async function drawAll() {
  for (const figure of document.querySelectorAll("figure[data-kind]")) {
    try {
      await draw(figure);
    } catch (error) {
      figure.querySelector("details").open = true; // the figures are there, as a table
      console.error(error);
    }
  }
  document.documentElement.dataset.drawn = drawn.length;
}

drawAll();
