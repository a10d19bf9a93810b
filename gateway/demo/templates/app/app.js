(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const say = (out, text, bad) => { out.textContent = text; out.classList.toggle("bad", Boolean(bad)); };

  const ask = $("ask");
  if (ask) ask.addEventListener("click", async () => {
    const out = $("ask-out");
    say(out, "Asking…");
    try {
      const answer = await fetch("/api/me", { headers: { Accept: "application/json" }, cache: "no-store" });
      const text = (await answer.text()).slice(0, 400);
      say(out, answer.status === 401 ? `401: signed out. ${text}` : `${answer.status}: ${text}`, !answer.ok);
    } catch {
      say(out, "No answer: is the demo still running?", true);
    }
  });

  const form = $("socket-form");
  let socket = null;
  if (form) form.addEventListener("submit", (event) => {
    event.preventDefault();
    const out = $("socket-out");
    const text = $("message").value;
    if (socket && socket.readyState === WebSocket.OPEN) { socket.send(text); return; }
    say(out, "Connecting…");
    const lines = [];
    socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/socket");
    socket.onopen = () => socket.send(text);
    socket.onmessage = (message) => { lines.push(message.data); say(out, lines.slice(-4).join("\n")); };
    socket.onclose = () => say(out, lines.length ? lines.concat("Closed.").slice(-4).join("\n") : "Refused: you are signed out.", true);
  });
})();
