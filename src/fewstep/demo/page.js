// One clock for all clips: the slider shows where they are, and moving it pauses them there.
const root = document.documentElement, play = document.getElementById("play"), scrub = document.getElementById("scrub");
const length = parseFloat(getComputedStyle(root).getPropertyValue("--seconds"));
let running = !matchMedia("(prefers-reduced-motion: reduce)").matches, origin = performance.now(), at = 0;

function seek(share) {
  at = share * length;
  root.style.setProperty("--at", `-${at}s`);
  origin = performance.now();
  for (const clip of document.querySelectorAll(".clip"))
    for (const animation of clip.getAnimations()) animation.currentTime = 0;
}
function run(on) {
  if (on !== running) seek(running ? position() : at / length);
  running = on;
  root.classList.toggle("paused", !on);
  play.textContent = on ? "Pause" : "Play";
  play.setAttribute("aria-pressed", String(on));
}
function position() {
  return running ? ((at + (performance.now() - origin) / 1000) % length) / length : at / length;
}
function tick() {
  if (running) scrub.value = position();
  requestAnimationFrame(tick);
}
play.addEventListener("click", () => run(!running));
scrub.addEventListener("input", () => { run(false); seek(Math.min(Number(scrub.value), 0.9999)); });
seek(0);
run(running);
tick();
