"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  // Tables: a header's button sorts by its column; what is missing stays last. Floors and ceilings are a body of their
  // own, which is never sorted.
  const tables = all("table").filter((table) => table.querySelector("thead button"));
  const places = new Map(tables.map((table) => [table, [...table.tBodies[0].rows]]));
  let sorted = { key: "", order: "" };
  const compare = (a, b) => {
    const x = Number(a), y = Number(b);
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en") : x - y;
  };
  const sort = () => {
    for (const table of tables) {
      const body = table.tBodies[0], buttons = all("thead button", table);
      const button = buttons.find((one) => one.dataset.key === sorted.key);
      buttons.forEach((one) => one.closest("th").setAttribute("aria-sort", one === button ? sorted.order : "none"));
      const keyed = places.get(table).map((row) => [button ? row.cells[button.closest("th").cellIndex].dataset.sort : "", row]);
      const sign = sorted.order === "ascending" ? 1 : -1;
      keyed.sort(([a], [b]) => (a === "") - (b === "") || (a === "" ? 0 : sign * compare(a, b)));
      keyed.forEach(([, row]) => body.append(row));
    }
  };
  const buttons = tables.flatMap((table) => all("thead button", table));
  for (const button of buttons) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const was = button.closest("th").getAttribute("aria-sort"), first = button.dataset.first;
      sorted = { key: button.dataset.key, order: was === "none" ? first : was === "ascending" ? "descending" : "ascending" };
      sort();
      write();
    });
  }

  // Filters: columns by data set, split and recordings; rows and strips by kind and method.
  const fields = { data: $("by-data"), split: $("by-split"), recordings: $("by-recordings"), kind: $("by-kind"), method: $("by-text") };
  const asked = (name) => (fields[name] ? fields[name].value : "");
  const fits = (one) => ["data", "split", "recordings"].every((name) => !asked(name) || one.dataset[name] === asked(name));
  const filter = () => {
    const kind = asked("kind") === "floor" ? "control" : asked("kind"), text = asked("method").trim().toLowerCase();
    for (const part of all("main [data-role]")) {
      part.hidden = (kind && part.dataset.role !== kind) || !part.dataset.method.toLowerCase().includes(text);
    }
    for (const one of all("main li[data-recordings]")) one.hidden = !fits(one);
    for (const table of all(".grid")) {
      const [sets, heads] = table.tHead.rows;
      for (const head of all("th[data-data]", heads)) {
        const hidden = !fits(head), place = head.cellIndex;
        head.hidden = hidden;
        [...table.tBodies].forEach((body) => [...body.rows].forEach((row) => { row.cells[place].hidden = hidden; }));
      }
      for (const set of all("th", sets)) {
        const count = all("th[data-data]", heads).filter((one) => !one.hidden && one.dataset.data === set.dataset.set).length;
        set.hidden = !count;
        set.colSpan = count || 1;
      }
      table.closest(".scroll").hidden = all("th[data-data]", heads).every((one) => one.hidden);
    }
    for (const block of all("[data-block]")) block.hidden = !all("[data-role]", block).some((one) => !one.hidden);
    const open = (one) => !one.closest("[data-part]") || one.closest("[data-part]").checkVisibility();
    const rows = all("[data-row]").filter(open), heads = all(".grid th[data-data]").filter(open);
    const shown = (list) => list.filter((one) => !one.hidden).length;
    if ($("count")) $("count").textContent = `${shown(rows)} of ${rows.length} rows` + (heads.length ? `, ${shown(heads)} of ${heads.length} columns` : "");
    if ($("count") && heads.length && !shown(heads)) $("count").textContent = "Nothing of that kind is ranked here";
  };

  // What is shown, and in which order, stands in the address behind the #: it can be sent, and comes back.
  const tabs = all(".tabs input");
  const write = () => {
    const said = new URLSearchParams(), tab = tabs.findIndex((one) => one.checked);
    if (tab > 0) said.set("part", tabs[tab].value);
    for (const name in fields) if (asked(name)) said.set(name, asked(name));
    if (sorted.key) { said.set("sort", sorted.key); said.set("order", sorted.order); }
    const text = said.toString();
    history.replaceState(null, "", text ? `#${text}` : location.href.split("#")[0]);
  };
  const read = () => {
    const text = location.hash.slice(1);
    if (text && !text.includes("=")) {  // a place in the page: what it lies in is opened
      const place = $(text);
      if (!place) return;
      for (let one = place; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
      place.scrollIntoView();
      return;
    }
    const said = new URLSearchParams(text), tab = tabs.find((one) => one.value === said.get("part")) || tabs[0];
    if (tab) tab.checked = true;
    for (const name in fields) {
      if (!fields[name]) continue;
      fields[name].value = said.get(name) || "";
      if (fields[name].selectedIndex === -1) fields[name].value = "";  // no such choice
    }
    if ($("filters") && Object.keys(fields).some(asked)) $("filters").open = true;
    const known = buttons.find((one) => one.dataset.key === said.get("sort"));
    const order = said.get("order");
    sorted = known ? { key: known.dataset.key, order: ["ascending", "descending"].includes(order) ? order : known.dataset.first } : { key: "", order: "" };
    sort();
    filter();
  };
  const form = $("filter");
  if (form) {
    form.addEventListener("input", () => { filter(); write(); });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(() => { sorted = { key: "", order: "" }; sort(); filter(); write(); }));
    ($("filters") || form).hidden = false;
  }
  tabs.forEach((one) => one.addEventListener("change", () => { filter(); write(); }));
  addEventListener("hashchange", read);
  read();

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
