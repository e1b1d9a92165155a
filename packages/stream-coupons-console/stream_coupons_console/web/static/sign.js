"use strict";
// Signs an approval with the key of a file: the key never leaves the browser. The server gets the signature alone.
const PKCS8 = "302e020100300506032b657004220420"; // RFC 8410: before the 32 bytes of an Ed25519 key

const bytes = (hex) => Uint8Array.from(hex.match(/../g) || [], (digits) => parseInt(digits, 16));
const digits = (buffer) => Array.from(new Uint8Array(buffer), (one) => one.toString(16).padStart(2, "0")).join("");

async function signature(form) {
  const [file] = form.querySelector("[data-key]").files;
  if (!file) throw new Error("Choose the file of your private key.");
  const text = file.size < 1000 ? (await file.text()).trim().toLowerCase() : "";
  if (!/^[0-9a-f]{64}$/.test(text)) throw new Error(`${file.name} is no key: expected what campaigns keygen wrote.`);
  const answer = await fetch(form.dataset.sign);
  if (!answer.ok) throw new Error(`The terms cannot be read: ${answer.status}.`);
  const key = await crypto.subtle.importKey("pkcs8", bytes(PKCS8 + text), "Ed25519", false, ["sign"]);
  return digits(await crypto.subtle.sign("Ed25519", key, await answer.arrayBuffer()));
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  const field = form.querySelector("[name=signature]");
  if (!form.dataset.sign || !field || field.value) return;
  event.preventDefault();
  const say = form.querySelector("[data-said]");
  try {
    field.value = await signature(form);
    form.submit();
  } catch (error) {
    const isOld = error.name === "NotSupportedError" || !crypto.subtle;
    say.textContent = isOld ? "This browser cannot sign: run the command below." : error.message;
  }
});
