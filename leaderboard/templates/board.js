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

  // The filter: rows and strips by role and text.
  const form = $("filter");
  const filter = () => {
    const role = $("by-role").value, text = $("by-text").value.trim().toLowerCase();
    for (const part of all("main [data-role]")) {
      part.hidden = (role && part.dataset.role !== role) || !part.dataset.method.toLowerCase().includes(text);
    }
    for (const block of all("[data-block]")) block.hidden = !all("[data-role]", block).some((one) => !one.hidden);
    const rows = all("[data-row]");
    $("count").textContent = `${rows.filter((one) => !one.hidden).length} of ${rows.length} rows`;
  };
  if (form) {
    form.addEventListener("input", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.hidden = false;
    filter();
  }

  // Clips: a still that is followed or played becomes its film, in a loop unless motion is to be reduced.
  const set = (shot, playing) => {
    let video = shot.querySelector("video");
    if (!video) {
      video = document.createElement("video");
      Object.assign(video, { src: shot.href, muted: true, playsInline: true, width: 128, height: 128 });
      video.setAttribute("aria-label", shot.querySelector("img").alt);
      video.addEventListener("ended", () => set(shot, false));
      shot.append(video);
    }
    video.loop = !calm.matches;
    shot.classList.toggle("playing", playing);
    video.pause();
    if (playing) { video.currentTime = 0; video.play().catch(() => {}); }
    const clip = shot.closest(".clip"), button = clip.querySelector(".play");
    if (!button) return;
    const some = all(".playing", clip).length > 0;
    button.setAttribute("aria-pressed", String(some));
    button.firstChild.textContent = some ? "Stop" : "Play";
  };
  for (const shot of all(".shot")) {
    shot.addEventListener("click", (event) => { event.preventDefault(); set(shot, !shot.classList.contains("playing")); });
  }
  for (const button of all(".play")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const shots = all(".shot", button.closest(".clip")), playing = !shots.some((one) => one.classList.contains("playing"));
      shots.filter((one) => one.checkVisibility()).forEach((one) => set(one, playing));
    });
  }

  // On paper everything is open.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    all("img[loading]").forEach((one) => { one.loading = "eager"; });
    closed.forEach((one) => { one.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((one) => { one.open = false; }));
})();
