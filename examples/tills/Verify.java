// Verify a generated coupon code without a connection: java Verify.java KEY CODE...
// KEY is what `stream-coupons codes key COUPON` prints. Prints a line a code: its expiry in epoch seconds, or its fault.
import java.math.BigInteger;
import java.util.Arrays;
import java.util.HexFormat;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public class Verify {
  static final String DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

  static BigInteger number(String text) {
    return text.chars().mapToObj(digit -> BigInteger.valueOf(DIGITS.indexOf(digit)))
        .reduce(BigInteger.ZERO, (sum, digit) -> sum.shiftLeft(5).add(digit));
  }

  static long expiry(String key, String code) throws Exception {
    String typed = code.toUpperCase().replaceAll("[ -]", "").replaceAll("[IL]", "1").replace("O", "0");
    typed = typed.substring(Math.max(typed.length() - 21, 0));
    if (!typed.matches("[0-9A-HJKMNP-TV-Z]{20}.")) throw new Exception("no code");
    String digits = typed.substring(0, 20);
    int rest = number(digits).mod(BigInteger.valueOf(37)).intValue();
    if ((DIGITS + "*~$=U").charAt(rest) != typed.charAt(20)) throw new Exception("mistyped");
    Mac mac = Mac.getInstance("HmacSHA256");
    mac.init(new SecretKeySpec(HexFormat.of().parseHex(key), "HmacSHA256"));
    byte[] mark = Arrays.copyOf(mac.doFinal(digits.substring(0, 12).getBytes()), 5);
    if (!new BigInteger(1, mark).equals(number(digits.substring(12)))) throw new Exception("forged, or of another coupon");
    return 1735689600L + 600 * number(digits.substring(0, 4)).longValue();
  }

  public static void main(String[] arguments) {
    for (String code : Arrays.copyOfRange(arguments, 1, arguments.length)) {
      try {
        System.out.println(expiry(arguments[0], code));
      } catch (Exception error) {
        System.out.println(error.getMessage());
      }
    }
  }
}
