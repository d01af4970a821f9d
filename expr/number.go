package expr

import (
	"cmp"
	"encoding/json"
	"math"
	"math/big"
	"strconv"
	"strings"
)

const (
	// exponentDigitsMax bounds the exponent of a number that is compared. A
	// longer one (1e9999999999) is a range error; copying it is still fine.
	exponentDigitsMax = 9
	// arithmeticDigitsMax bounds the digits and the exponent of operands and
	// results of + - * / %. Beyond it the operation is a range error, so that
	// "1e999999999 + 1" does not expand into a gigabyte of zeros.
	arithmeticDigitsMax = 400
)

// A decimal is a number as its JSON text says it: 0.digits × 10^exponent. It
// compares exactly, whatever the number of digits, without expanding the
// exponent.
type decimal struct {
	negative bool
	digits   string // no zeros at either end; empty is zero
	exponent int64
}

// parseDecimal reads a JSON number. It accepts exactly the grammar of RFC 8259.
func parseDecimal(s string) (decimal, bool) {
	var d decimal
	s, d.negative = strings.CutPrefix(s, "-")
	end := digitsEnd(s)
	whole, rest := s[:end], s[end:]
	if whole == "" || len(whole) > 1 && whole[0] == '0' {
		return decimal{}, false
	}
	fraction := ""
	if strings.HasPrefix(rest, ".") {
		rest = rest[1:]
		end = digitsEnd(rest)
		fraction, rest = rest[:end], rest[end:]
		if fraction == "" {
			return decimal{}, false
		}
	}
	var exponent int64
	if rest != "" {
		if rest[0] != 'e' && rest[0] != 'E' {
			return decimal{}, false
		}
		sign, digits := int64(1), rest[1:]
		if digits != "" && (digits[0] == '+' || digits[0] == '-') {
			if digits[0] == '-' {
				sign = -1
			}
			digits = digits[1:]
		}
		if digits == "" || digitsEnd(digits) != len(digits) {
			return decimal{}, false
		}
		digits = strings.TrimLeft(digits, "0")
		if len(digits) > exponentDigitsMax {
			return decimal{}, false
		}
		if digits != "" {
			n, err := strconv.ParseInt(digits, 10, 64)
			if err != nil {
				return decimal{}, false
			}
			exponent = sign * n
		}
	}
	all := whole + fraction
	significant := strings.TrimLeft(all, "0")
	d.exponent = exponent + int64(len(whole)) - int64(len(all)-len(significant))
	d.digits = strings.TrimRight(significant, "0")
	if d.digits == "" {
		return decimal{}, true
	}
	return d, true
}

// digitsEnd returns the length of the run of digits at the start of s.
func digitsEnd(s string) int {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return i
		}
	}
	return len(s)
}

// compare returns -1, 0 or 1 as d is less than, equal to or greater than e.
func (d decimal) compare(e decimal) int {
	if d.sign() != e.sign() {
		return cmp.Compare(d.sign(), e.sign())
	}
	magnitude := cmp.Compare(d.exponent, e.exponent)
	if magnitude == 0 {
		magnitude = strings.Compare(d.digits, e.digits)
	}
	return magnitude * d.sign()
}

func (d decimal) sign() int {
	switch {
	case d.digits == "":
		return 0
	case d.negative:
		return -1
	}
	return 1
}

// rat returns d for arithmetic, or false when it is outside the bounds of
// arithmeticDigitsMax.
func (d decimal) rat() (*big.Rat, bool) {
	if len(d.digits) > arithmeticDigitsMax || d.exponent > arithmeticDigitsMax || d.exponent < -arithmeticDigitsMax {
		return nil, false
	}
	if d.digits == "" {
		return new(big.Rat), true
	}
	text := "0." + d.digits + "e" + strconv.FormatInt(d.exponent, 10)
	if d.negative {
		text = "-" + text
	}
	return new(big.Rat).SetString(text)
}

// ratText writes an arithmetic result as a JSON number: every digit when the
// decimal expansion ends within the bounds, else the nearest float64.
func ratText(r *big.Rat) (string, bool) {
	if places, exact := r.FloatPrec(); exact && places <= arithmeticDigitsMax {
		text := r.FloatString(places)
		return text, len(text) <= 2*arithmeticDigitsMax
	}
	f, _ := r.Float64()
	if math.IsInf(f, 0) {
		return "", false
	}
	return strconv.FormatFloat(f, 'g', -1, 64), true
}

// integer returns d as an int when it is a whole number that fits.
func (d decimal) integer() (int, bool) {
	if d.digits == "" {
		return 0, true
	}
	const intDigitsMax = 18 // any 18-digit number fits an int64
	if d.exponent < int64(len(d.digits)) || d.exponent > intDigitsMax {
		return 0, false
	}
	n, err := strconv.Atoi(d.digits + strings.Repeat("0", int(d.exponent)-len(d.digits)))
	if err != nil {
		return 0, false
	}
	return n * d.sign(), true
}

// numberText returns the JSON text of a Go number, or false when v is not a
// number that JSON can hold.
func numberText(v any) (string, bool) {
	switch n := v.(type) {
	case json.Number:
		return string(n), true
	case float64:
		if math.IsNaN(n) || math.IsInf(n, 0) {
			return "", false
		}
		return strconv.FormatFloat(n, 'g', -1, 64), true
	case float32:
		return numberText(float64(n))
	case int:
		return strconv.FormatInt(int64(n), 10), true
	case int8:
		return strconv.FormatInt(int64(n), 10), true
	case int16:
		return strconv.FormatInt(int64(n), 10), true
	case int32:
		return strconv.FormatInt(int64(n), 10), true
	case int64:
		return strconv.FormatInt(n, 10), true
	case uint:
		return strconv.FormatUint(uint64(n), 10), true
	case uint8:
		return strconv.FormatUint(uint64(n), 10), true
	case uint16:
		return strconv.FormatUint(uint64(n), 10), true
	case uint32:
		return strconv.FormatUint(uint64(n), 10), true
	case uint64:
		return strconv.FormatUint(n, 10), true
	}
	return "", false
}
