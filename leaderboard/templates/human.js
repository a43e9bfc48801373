"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const study = JSON.parse($("study").textContent);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const answers = new Map(); // by item {question: rating}; of preferences by group {question: item}
  const chosen = study.form === "preference";
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

  // Answers stay in the browser, if it lets them (not all do for a page from a file), until they are removed.
  const place = () => `brain2video study ${study.study} ${rater}`;
  const keep = () => {
    try { localStorage.setItem(place(), JSON.stringify({ at, answers: [...answers] })); } catch { /* told at the start */ }
  };
  const recall = () => {
    answers.clear();
    at = 0;
    try {
      const kept = JSON.parse(localStorage.getItem(place()) ?? "null");
      if (!kept) return;
      for (const [name, given] of kept.answers) answers.set(name, given);
      at = Math.min(Math.max(0, Number(kept.at) || 0), clips.length - 1);
    } catch { /* nothing was kept, or nothing that can be read */ }
  };
  const keeps = (() => {
    try { localStorage.setItem("brain2video", "1"); localStorage.removeItem("brain2video"); return true; } catch { return false; }
  })();

  const question = (about, options, { id, title, text }) => {
    const scale = make("div", { className: "scale" });
    for (const { value, shown, label } of options) {
      const input = make("input", { type: "radio", name: `${about}-${id}`, value: String(value) });
      if (label) input.setAttribute("aria-label", `${shown}, ${label}`);
      input.checked = answers.get(about)?.[id] === value;
      input.addEventListener("change", () => {
        answers.set(about, { ...answers.get(about), [id]: value });
        saved = false;
        keep();
        input.closest("fieldset").classList.remove("lacking");
      });
      scale.append(make("label", {}, input, make("span", { textContent: shown })));
    }
    if (!chosen) {
      scale.prepend(make("span", { className: "end", textContent: "not at all" }));
      scale.append(make("span", { className: "end", textContent: "fully" }));
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
    const film = (item, place) => {
      const video = make("video", { muted: true, preload: "auto" });
      video.playsInline = true;
      video.setAttribute("aria-label", `video ${letter(place)}`);
      load(video, item);
      return video;
    };
    const head = (place) => make("h3", { textContent: `Video ${letter(place)}` });
    if (chosen) {
      const letters = clip.items.map((item, place) => ({ value: item, shown: letter(place) }));
      const films = clip.items.map((item, place) => make("div", {}, head(place), film(item, place)));
      const asked = study.questions.map((one) => question(clip.truth, letters, { ...one, text: one.choice }));
      $("items").replaceChildren(make("div", { className: "choices" }, ...films), ...asked);
    } else {
      const scale = [];
      for (let value = study.lowest; value <= study.highest; value += 1) {
        const label = value === study.lowest ? "not at all" : value === study.highest ? "fully" : "";
        scale.push({ value, shown: String(value), label });
      }
      $("items").replaceChildren(...clip.items.map((item, place) => {
        const asked = make("div", {}, ...study.questions.map((one) => question(item, scale, one)));
        return make("section", { className: "item" }, head(place), make("div", {}, film(item, place)), asked);
      }));
    }
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
    clips = shuffle(study.clips, random).map((clip) => ({ ...clip, items: shuffle(clip.items, random) })).slice(0, study.each);
    recall();
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
    keep();
    if (at < clips.length) draw();
    else { play(false); show("end"); $("thanks").focus(); }
  });
  $("back").addEventListener("click", () => { at -= 1; draw(); });
  $("again").addEventListener("click", () => { at = clips.length - 1; draw(); });
  $("play").addEventListener("click", () => play($("play").getAttribute("aria-pressed") === "false"));
  $("download").addEventListener("click", () => {
    let position = 0;
    const given = chosen
      ? clips.map((clip, place) => ({ group: clip.truth, position: place + 1, ...answers.get(clip.truth) }))
      : clips.flatMap((clip) => clip.items.map((item, place) => {
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
  $("forget").addEventListener("click", () => {
    try { localStorage.removeItem(place()); } catch { /* nothing was kept */ }
    $("forgotten").textContent = "They are gone from this browser; the file that you downloaded stays.";
  });
  addEventListener("beforeunload", (event) => { if (!saved && !keeps) event.preventDefault(); });
  $("unkept").hidden = keeps;
  show("start");
})();
