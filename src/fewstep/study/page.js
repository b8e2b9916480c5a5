"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const GUARD_MS = 250; // a pair takes no answer before this: the key that answered the last one may still be down
const RETRY_MS = 2000;
const RETURN_MS = 600; // from the end of the longer clip to the next start

// ---- what a rater is asked: drawn from the study's and the rater's names, so that it is the same after a reload ----
function random(seed) {
  let h = 2166136261;
  for (const byte of new TextEncoder().encode(seed)) h = Math.imul(h ^ byte, 16777619);
  return () => { // mulberry32
    h = (h + 0x6d2b79f5) | 0;
    let t = Math.imul(h ^ (h >>> 15), 1 | h);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
function shuffled(items, next) {
  return items.map((item) => [next(), item]).sort(([a], [b]) => a - b).map(([, item]) => item);
}
function ballot(rater) { // as many pairs of each match of two models, then all in random order, each on a random side
  const next = random(`${data.study}/${rater}`), matches = new Map();
  for (const pair of shuffled(data.pairs, next)) matches.set(pair.match, [...(matches.get(pair.match) || []), pair]);
  const piles = shuffled([...matches.values()], next), drawn = [];
  for (let turn = 0; drawn.length < data.perRater; turn++) {
    const pile = piles[turn % piles.length];
    if (pile.length) drawn.push(pile.pop());
  }
  return shuffled(drawn, next).map((pair) => {
    const [left, right] = next() < 0.5 ? pair.clips : [pair.clips[1], pair.clips[0]];
    return { name: pair.name, prompt: pair.prompt, left, right };
  });
}

// ---- answers: in memory, in this browser one entry a pair (so that two tabs cannot lose each other's), at the server ----
const place = (rater, pair = "") => `fewstep-study/${data.study}/${encodeURIComponent(rater)}/${pair}`;
const LAST = `fewstep-study/${data.study}`;
let rater = "", answers = new Map(), kept = true;
let server = "none", stored = new Map(); // "none", "away" or "there"; and when each answer that it has was given

function keep(name, value) {
  try { localStorage.setItem(name, value); } catch { kept = false; }
}
function recall(who) {
  const found = new Map(), start = place(who);
  try {
    for (let i = 0; i < localStorage.length; i++) {
      const name = localStorage.key(i);
      if (name.startsWith(start)) found.set(name.slice(start.length), JSON.parse(localStorage.getItem(name)));
    }
  } catch { kept = false; }
  return found;
}
function merge(more) { // of two answers to one pair the later counts
  for (const answer of more) {
    const known = answers.get(answer.pair);
    if (known && known.at >= answer.at) continue;
    answers.set(answer.pair, answer);
    keep(place(rater, answer.pair), JSON.stringify(answer));
  }
}
async function ask(who) { // what the server has; nothing from a file, or from a server that only hands out files
  server = "none";
  if (!location.protocol.startsWith("http")) return [];
  try {
    const reply = await fetch(`answers?rater=${encodeURIComponent(who)}`);
    const found = reply.ok ? await reply.json().catch(() => ({})) : {};
    if (found.study !== data.study) return [];
    server = "there";
    return found.answers;
  } catch {
    server = "away"; // the timer asks again
    return [];
  }
}
async function meet() {
  const there = await ask(rater);
  stored = new Map(there.map((answer) => [answer.pair, answer.at]));
  merge(there);
  send();
}
const waiting = () => [...answers.values()].filter((answer) => stored.get(answer.pair) !== answer.at);
let sending = false;
async function send() {
  const batch = waiting();
  if (server !== "there" || sending || !batch.length) return;
  sending = true;
  try {
    const reply = await fetch("answers", { method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify(batch), keepalive: JSON.stringify(batch).length < 60000 });
    if (reply.ok) for (const answer of batch) stored.set(answer.pair, answer.at);
  } catch { /* away: the timer tries again */ }
  sending = false;
  say();
  if (batch.some((answer) => answers.get(answer.pair).at !== answer.at)) send();
}
setInterval(() => (server === "away" ? meet() : send()), RETRY_MS);
addEventListener("online", send);
addEventListener("storage", (event) => { // another tab of this browser
  if (rater && event.newValue && (event.key || "").startsWith(place(rater))) merge([JSON.parse(event.newValue)]);
});
addEventListener("beforeunload", (event) => { if (!kept && (server === "none" ? answers.size : waiting().length)) event.preventDefault(); });

function save() {
  const given = queue.map((pair) => answers.get(pair.name)).filter(Boolean);
  const text = JSON.stringify({ study: data.study, rater, answers: given }, null, 1);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = `answers-${data.study}-${rater.replace(/[^\p{L}\p{N}]+/gu, "-")}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
async function load(file) {
  try {
    const found = JSON.parse(await file.text());
    if (found.study !== data.study) throw new Error("these are answers of another study");
    if (!found.rater || !Array.isArray(found.answers)) throw new Error("it holds no answers");
    await enter(found.rater, found.answers);
  } catch (error) { note(`${file.name}: ${error.message}`); }
}

// ---- clips: both start together, and start again together when the longer one has ended ----
const shown = new Map();
function source(name) {
  const clip = data.clips[name];
  if (clip.data) {
    const bytes = Uint8Array.from(atob(clip.data), (letter) => letter.charCodeAt(0));
    clip.file = URL.createObjectURL(new Blob([bytes], { type: clip.kind }));
    clip.data = null;
  }
  return clip.file;
}
function player(name) {
  const moving = data.clips[name].kind.startsWith("video"), element = document.createElement(moving ? "video" : "img");
  if (moving) Object.assign(element, { muted: true, playsInline: true, preload: "auto", disablePictureInPicture: true });
  else element.alt = "";
  element.dataset.clip = name;
  element.ready = new Promise((good, bad) => {
    element.addEventListener(moving ? "canplaythrough" : "load", good, { once: true });
    element.addEventListener("error", bad, { once: true });
  });
  element.ready.catch(() => {});
  element.src = source(name);
  return element;
}
function prepare(pair) {
  if (!shown.has(pair.name)) shown.set(pair.name, [player(pair.left), player(pair.right)]);
  return shown.get(pair.name);
}
const clips = () => [$("left").firstChild, $("right").firstChild].filter(Boolean);
const videos = () => clips().filter((clip) => clip.tagName === "VIDEO");
let turn = 0, paused = false; // every start and every pair is another turn: what belongs to an older one is void
function start() {
  const mine = ++turn;
  paused = false;
  for (const clip of clips()) {
    if (clip.tagName === "IMG") { clip.src = clip.src; continue; }
    clip.currentTime = 0;
    clip.onended = () => {
      if (mine === turn && videos().every((each) => each.ended)) setTimeout(() => mine === turn && start(), RETURN_MS);
    };
  }
  for (const clip of videos()) clip.play().catch(() => {});
}
function pause() {
  paused = !paused;
  for (const clip of videos()) if (paused) clip.pause(); else if (!clip.ended) clip.play().catch(() => {});
}

// ---- screens ----
let queue = [], at = 0, since = 0, taking = false;
function show(name) {
  for (const each of ["welcome", "rate", "done"]) $(each).hidden = each !== name;
  say();
}
function note(text) { $("known").textContent = text; $("known").hidden = !text; }
function say() {
  $("alarm").hidden = kept;
  $("alarm").textContent = "This browser does not keep answers. Save them as a file before you close the page.";
  const left = waiting().length, online = server !== "none";
  const text = !online ? (kept ? "Answers are kept in this browser." : "") : left ?
    `${left} ${left > 1 ? "answers wait" : "answer waits"} for the server${kept ? " and stay in this browser" : ""}.` : "All answers are stored.";
  $("kept").textContent = $("kept-end").textContent = text;
  $("end").textContent = online && !left ? `Your ${answered()} answers are stored. You can close this page.`
    : `You have answered ${answered()} pairs. Save your answers as a file and send it to whoever asked you.`;
  if (online && left) $("end").textContent = "Your answers are on their way to the server. Please leave this page open, or save them as a file.";
}
const answered = () => queue.filter((pair) => answers.has(pair.name)).length;

async function display(index) {
  if (index !== at) $("broken").hidden = true;
  at = index;
  taking = false;
  const mine = ++turn, pair = queue[at], given = answers.get(pair.name), done = answered();
  $("place").textContent = `${at + 1} of ${queue.length}`;
  $("prompt").textContent = pair.prompt;
  $("bar").setAttribute("aria-valuemax", queue.length);
  $("bar").setAttribute("aria-valuenow", done);
  $("bar").firstChild.style.width = `${100 * done / queue.length}%`;
  $("back").disabled = at === 0;
  $("next").hidden = !given;
  for (const button of $("choices").children) {
    button.setAttribute("aria-pressed", String(given?.choice === button.dataset.choice));
    button.disabled = true;
  }
  const both = prepare(pair);
  $("left").replaceChildren(both[0]);
  $("right").replaceChildren(both[1]);
  show("rate");
  try { await Promise.all(both.map((clip) => clip.ready)); } catch {
    if (mine !== turn) return;
    $("broken").hidden = false;
    shown.delete(pair.name);
    setTimeout(() => mine === turn && display(index), RETRY_MS);
    return;
  }
  if (mine !== turn) return;
  $("broken").hidden = true;
  start();
  since = performance.now();
  setTimeout(() => {
    if (at !== index) return;
    taking = true;
    for (const button of $("choices").children) button.disabled = false;
  }, GUARD_MS);
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) pause();
  for (const name of shown.keys()) if (name !== pair.name && name !== queue[at + 1]?.name) shown.delete(name);
  if (queue[at + 1]) prepare(queue[at + 1]);
}
function answer(choice) {
  if ($("rate").hidden || (choice === "skipped" ? $("broken").hidden : !taking)) return;
  taking = false;
  const pair = queue[at], seconds = choice === "skipped" ? 0 : Math.round(performance.now() - since) / 1000;
  const before = answers.get(pair.name), now = Math.max(Date.now(), before ? Date.parse(before.at) + 1 : 0);
  merge([{ study: data.study, rater, pair: pair.name, left: pair.left, right: pair.right, choice, seconds,
    at: new Date(now).toISOString() }]); // later than what it replaces, even where the clock was set back
  send();
  advance();
}
function advance() {
  for (let step = 1; step <= queue.length; step++) {
    const index = (at + step) % queue.length;
    if (!answers.has(queue[index].name)) return void display(index);
  }
  turn++;
  for (const clip of videos()) clip.pause();
  show("done");
}
async function enter(who, more = []) {
  rater = who;
  answers = recall(who);
  queue = ballot(who);
  merge(more);
  keep(LAST, who);
  await meet();
  at = queue.length - 1;
  advance();
}

$("count").textContent = data.perRater;
$("begin").addEventListener("submit", async (event) => {
  event.preventDefault();
  const who = $("rater").value.trim();
  if (!who) return;
  const elsewhere = recall(who).size ? 0 : (await ask(who)).length;
  if (elsewhere && $("begin").dataset.sure !== who) {
    $("begin").dataset.sure = who;
    return note(`There are ${elsewhere} answers under this name already. If they are yours, press Begin again to go on; if not, choose another name.`);
  }
  enter(who);
});
$("load").addEventListener("change", (event) => event.target.files[0] && load(event.target.files[0]));
for (const button of document.querySelectorAll("[data-choice]")) button.addEventListener("click", () => answer(button.dataset.choice));
for (const button of document.querySelectorAll(".save")) button.addEventListener("click", save);
$("back").addEventListener("click", () => at > 0 && display(at - 1));
$("next").addEventListener("click", () => (answers.has(queue[at + 1]?.name) ? display(at + 1) : advance()));
$("again").addEventListener("click", start);
$("review").addEventListener("click", () => display(0));
$("other").addEventListener("click", () => { keep(LAST, ""); location.reload(); });
const KEYS = { ArrowLeft: "left", ArrowDown: "similar", ArrowRight: "right", 1: "left", 2: "similar", 3: "right" };
addEventListener("keydown", (event) => {
  if ($("rate").hidden || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key, onButton = document.activeElement?.tagName === "BUTTON";
  if (KEYS[key]) answer(KEYS[key]);
  else if (key === "Backspace") $("back").click();
  else if (key === "r" || key === "R") start();
  else if (key === " " && !onButton) pause();
  else return;
  event.preventDefault();
});

(async () => {
  let last = "";
  try { last = localStorage.getItem(LAST) || ""; localStorage.setItem(`${LAST}/`, "1"); } catch { kept = false; }
  if (last) return enter(last);
  show("welcome");
  $("rater").focus();
})();
