// Verify a generated coupon code without a connection: node verify.mjs KEY CODE...
// KEY is what `stream-coupons codes key COUPON` prints. Prints a line a code: its expiry in epoch seconds, or its fault.
import { createHmac } from "node:crypto";

const DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

const number = (text) => [...text].reduce((sum, digit) => sum * 32n + BigInt(DIGITS.indexOf(digit)), 0n);

export function expiry(key, code) {
  const typed = code.toUpperCase().replace(/[ -]/g, "").replace(/[IL]/g, "1").replace(/O/g, "0").slice(-21);
  const [digits, check] = [typed.slice(0, 20), typed.slice(20)];
  if (!/^[0-9A-HJKMNP-TV-Z]{20}.$/.test(typed)) throw new Error("no code");
  if ((DIGITS + "*~$=U")[Number(number(digits) % 37n)] !== check) throw new Error("mistyped");
  const mac = createHmac("sha256", Buffer.from(key, "hex")).update(digits.slice(0, 12)).digest("hex");
  if (number(digits.slice(12)) !== BigInt("0x" + mac.slice(0, 10))) throw new Error("forged, or of another coupon");
  return 1735689600 + 600 * Number(number(digits.slice(0, 4)));
}

const [key, ...codes] = process.argv.slice(2);
for (const code of codes) {
  try {
    console.log(expiry(key, code));
  } catch (error) {
    console.log(error.message);
  }
}
