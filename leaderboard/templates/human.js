"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const study = JSON.parse($("study").textContent);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const answers = new Map(); // item -> {question: rating}
  let rater = "", clips = [], at = 0, saved = true;

  // The rater's order: a generator (mulberry32) seeded by the study and the id (FNV-1a).
  const generator = (text) => {
    let state = 2166136261;
    for (const letter of text) state = Math.imul(state ^ letter.codePointAt(0), 16777619);
    return () => {
      state = (state + 0x6d2b79f5) | 0;
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
    };
  };
  const shuffle = (list, random) => {
    const dealt = [...list];
    for (let i = dealt.length - 1; i > 0; i -= 1) {
      const j = Math.floor(random() * (i + 1));
      [dealt[i], dealt[j]] = [dealt[j], dealt[i]];
    }
    return dealt;
  };
  const letter = (place) => (place < 26 ? "" : String.fromCharCode(64 + Math.floor(place / 26))) + String.fromCharCode(65 + (place % 26));

  const make = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };
  const show = (id) => { for (const part of ["start", "judge", "end"]) $(part).hidden = part !== id; };
  const load = (video, name) => { video.poster = `media/${name}.png`; video.src = `media/${name}.webm`; };
  const videos = () => [...document.querySelectorAll("#judge video")];
  const play = (playing) => {
    $("play").setAttribute("aria-pressed", String(playing));
    $("play").textContent = playing ? "Stop all" : "Play all";
    for (const video of videos()) {
      video.loop = !calm.matches;
      video.pause();
      if (playing) { video.currentTime = 0; video.play().catch(() => {}); }
    }
  };

  const question = (item, place, { id, title, text }) => {
    const scale = make("div", { className: "scale" });
    for (let value = study.lowest; value <= study.highest; value += 1) {
      const input = make("input", { type: "radio", name: `${item}-${id}`, value: String(value) });
      input.checked = answers.get(item)?.[id] === value;
      input.addEventListener("change", () => {
        answers.set(item, { ...answers.get(item), [id]: value });
        saved = false;
        input.closest("fieldset").classList.remove("lacking");
      });
      scale.append(make("label", {}, input, make("span", { textContent: String(value) })));
    }
    return make("fieldset", {}, make("legend", {}, make("b", { textContent: title }), text), scale);
  };
  const draw = () => {
    const clip = clips[at];
    show("judge");
    $("where").textContent = `Clip ${at + 1} of ${clips.length}`;
    $("progress").max = clips.length;
    $("progress").value = at;
    $("alert").textContent = "";
    $("back").disabled = at === 0;
    load($("truth"), clip.truth);
    $("items").replaceChildren(...clip.items.map((item, place) => {
      const video = make("video", { muted: true, preload: "auto" });
      video.playsInline = true;
      video.setAttribute("aria-label", `video ${letter(place)}`);
      load(video, item);
      const asked = make("div", {}, ...study.questions.map((one) => question(item, place, one)));
      return make("section", { className: "item" }, make("h3", { textContent: `Video ${letter(place)}` }), make("div", {}, video), asked);
    }));
    for (const video of videos()) {
      video.onended = () => { if (videos().every((one) => one.ended)) play(false); };
    }
    play(false);
    scrollTo(0, 0);
    $("where").focus();
  };

  $("sign").addEventListener("submit", (event) => {
    event.preventDefault();
    rater = $("rater").value;
    const random = generator(`${study.study}:${rater}`);
    clips = shuffle(study.clips, random).map((clip) => ({ ...clip, items: shuffle(clip.items, random) }));
    at = 0;
    draw();
  });
  $("form").addEventListener("submit", (event) => {
    event.preventDefault();
    const open = [...document.querySelectorAll("#items fieldset")].filter((one) => !one.querySelector(":checked"));
    for (const one of document.querySelectorAll("#items fieldset")) one.classList.toggle("lacking", open.includes(one));
    if (open.length) {
      $("alert").textContent = open.length === 1 ? "1 question has no answer yet." : `${open.length} questions have no answer yet.`;
      open[0].querySelector("input").focus();
      return;
    }
    at += 1;
    if (at < clips.length) draw();
    else { play(false); show("end"); $("thanks").focus(); }
  });
  $("back").addEventListener("click", () => { at -= 1; draw(); });
  $("again").addEventListener("click", () => { at = clips.length - 1; draw(); });
  $("play").addEventListener("click", () => play($("play").getAttribute("aria-pressed") === "false"));
  $("download").addEventListener("click", () => {
    let position = 0;
    const given = clips.flatMap((clip) => clip.items.map((item, place) => {
      position += 1;
      return { item, letter: letter(place), position, ...answers.get(item) };
    }));
    const record = { schema: study.schema, study: study.study, rater, answers: given };
    const url = URL.createObjectURL(new Blob([`${JSON.stringify(record, null, 1)}\n`], { type: "application/json" }));
    const link = make("a", { href: url, download: `answers-${rater}.json` });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
    saved = true;
  });
  addEventListener("beforeunload", (event) => { if (!saved) event.preventDefault(); });
  show("start");
})();
