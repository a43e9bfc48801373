"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  // Tables: a header's button sorts by its column; what is missing stays last.
  const compare = (a, b) => {
    const x = Number(a), y = Number(b);
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en") : x - y;
  };
  const sort = (button) => {
    const head = button.closest("th"), table = head.closest("table"), column = head.cellIndex;
    const was = head.getAttribute("aria-sort"), first = button.dataset.first;
    const order = was === "none" ? first : was === "ascending" ? "descending" : "ascending";
    all("thead th", table).forEach((other) => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1, body = table.tBodies[0];
    const keyed = [...body.rows].map((row) => [row.cells[column].dataset.sort, row]);
    keyed.sort(([a], [b]) => (a === "") - (b === "") || (a === "" ? 0 : sign * compare(a, b)));
    keyed.forEach(([, row]) => body.append(row));
  };
  all(".board thead button").forEach((button) => button.addEventListener("click", () => sort(button)));

  // The filter: sections by data set and split; rows, strips and clips by role and text.
  const form = $("filter"), sections = all("main > section[data-dataset]");
  const filter = () => {
    const dataset = $("by-dataset").value, split = $("by-split").value, role = $("by-role").value;
    const text = $("by-text").value.trim().toLowerCase();
    let rows = 0, shown = 0;
    for (const section of sections) {
      const wanted = (!dataset || section.dataset.dataset === dataset) && (!split || section.dataset.split === split);
      let here = 0;
      for (const part of all("[data-role]", section)) {
        part.hidden = (role && part.dataset.role !== role) || !part.dataset.method.toLowerCase().includes(text);
        if (!part.hidden && "row" in part.dataset) here += 1;
      }
      for (const block of all("[data-block]", section)) block.hidden = !all("[data-role]", block).some((one) => !one.hidden);
      section.hidden = !wanted || here === 0;
      const link = all("nav a").find((one) => one.dataset.for === section.id);
      link.parentElement.hidden = section.hidden;
      if (!section.hidden) { rows += here; shown += 1; }
    }
    $("count").textContent = `${rows} rows in ${shown} of ${sections.length} sections`;
    stop(all("[hidden] .card.playing"));
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());

  // Clips: the three videos of a card play together, on demand; in a loop, unless motion is to be reduced.
  const set = (card, playing) => {
    const button = card.querySelector(".play");
    card.classList.toggle("playing", playing);
    button.setAttribute("aria-pressed", String(playing));
    button.firstChild.textContent = playing ? "Stop" : "Play";
    for (const video of all("video", card)) {
      video.loop = !calm.matches;
      video.pause();
      if (playing) { video.currentTime = 0; video.play().catch(() => {}); } else if (video.readyState) video.load();
    }
  };
  const stop = (cards) => cards.forEach((card) => set(card, false));
  const cards = all(".card").filter((card) => card.querySelector("video"));
  for (const card of cards) {
    const button = card.querySelector(".play");
    button.hidden = false;
    button.addEventListener("click", () => set(card, !card.classList.contains("playing")));
    for (const video of all("video", card)) {
      video.controls = false;
      video.addEventListener("ended", () => { if (!all("video", card).some((one) => !one.ended)) stop([card]); });
    }
  }
  for (const button of all("button.all")) {
    const mine = cards.filter((card) => button.closest("section").contains(card));
    const offer = () => { button.hidden = calm.matches || mine.length === 0; };
    calm.addEventListener("change", offer);
    offer();
    button.addEventListener("click", () => {
      const playing = mine.filter((card) => card.classList.contains("playing"));
      if (playing.length) stop(playing);
      else mine.filter((card) => card.checkVisibility()).forEach((card) => set(card, true));
      button.textContent = playing.length ? "Play all of this section" : "Stop all of this section";
    });
  }
  // Posters of closed groups are loaded when they are opened: a board has thousands.
  const unveil = (part) => all("video[data-poster]", part).forEach((video) => {
    video.poster = video.dataset.poster;
    video.removeAttribute("data-poster");
  });
  for (const group of all(".group")) {
    group.addEventListener("toggle", () => { if (group.open) unveil(group); else stop(all(".card.playing", group)); });
  }

  // On paper everything is open.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    unveil(document);
    closed.forEach((one) => { one.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((one) => { one.open = false; }));

  form.hidden = false;
  filter();
})();
