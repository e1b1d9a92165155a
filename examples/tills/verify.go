// Verify a generated coupon code without a connection: go run verify.go KEY CODE...
// KEY is what `stream-coupons codes key COUPON` prints. Prints a line a code: its expiry in epoch seconds, or its fault.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"os"
	"strings"
)

const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

func number(text string) *big.Int {
	sum := new(big.Int)
	for _, digit := range text {
		sum.Add(sum.Lsh(sum, 5), big.NewInt(int64(strings.IndexRune(digits, digit))))
	}
	return sum
}

func expiry(key []byte, code string) (int64, error) {
	typed := strings.NewReplacer(" ", "", "-", "", "I", "1", "L", "1", "O", "0").Replace(strings.ToUpper(code))
	typed = typed[max(len(typed)-21, 0):]
	if len(typed) != 21 || strings.Trim(typed[:20], digits) != "" {
		return 0, errors.New("no code")
	}
	if (digits + "*~$=U")[new(big.Int).Mod(number(typed[:20]), big.NewInt(37)).Int64()] != typed[20] {
		return 0, errors.New("mistyped")
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(typed[:12]))
	if number(typed[12:20]).Cmp(new(big.Int).SetBytes(mac.Sum(nil)[:5])) != 0 {
		return 0, errors.New("forged, or of another coupon")
	}
	return 1735689600 + 600*number(typed[:4]).Int64(), nil
}

func main() {
	key, _ := hex.DecodeString(os.Args[1])
	for _, code := range os.Args[2:] {
		if at, err := expiry(key, code); err != nil {
			fmt.Println(err)
		} else {
			fmt.Println(at)
		}
	}
}
