package store

import (
	"database/sql/driver"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// text is a string column. Postgres refuses NUL and bytes that are not UTF-8,
// so these are stored as \0 and \xHH, and a backslash as \\. Different strings
// stay different, so comparing for equality and uniqueness work on what is
// stored.
type text string

func (t text) Value() (driver.Value, error) {
	s := string(t)
	if strings.IndexByte(s, '\\') < 0 && strings.IndexByte(s, 0) < 0 && utf8.ValidString(s) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == 0:
			b.WriteString(`\0`)
		case r == '\\':
			b.WriteString(`\\`)
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String(), nil
}

func (t *text) Scan(v any) error {
	s, err := scanString(v)
	if err != nil {
		return err
	}
	if strings.IndexByte(s, '\\') < 0 {
		*t = text(s)
		return nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\':
			b.WriteByte(s[i])
			continue
		case strings.HasPrefix(s[i:], `\\`):
			b.WriteByte('\\')
		case strings.HasPrefix(s[i:], `\0`):
			b.WriteByte(0)
		case strings.HasPrefix(s[i:], `\x`) && len(s) >= i+4:
			c, err := strconv.ParseUint(s[i+2:i+4], 16, 8)
			if err != nil {
				return fmt.Errorf("column holds a broken escape %q", s[i:i+4])
			}
			b.WriteByte(byte(c))
			i += 2
		default:
			return fmt.Errorf("column holds a broken escape at byte %d", i)
		}
		i++
	}
	*t = text(b.String())
	return nil
}

// uid is a column of UUIDs in their usual lower-case form. Anything else is
// stored as NULL, so that looking for it finds nothing and inserting it where
// an id is required fails, on both databases.
type uid string

func (u uid) valid() bool {
	p, err := uuid.Parse(string(u))
	return err == nil && p.String() == string(u)
}

func (u uid) Value() (driver.Value, error) {
	if !u.valid() {
		return nil, nil
	}
	return string(u), nil
}

func (u *uid) Scan(v any) error {
	s, err := scanString(v)
	*u = uid(s)
	return err
}

// digest is a column of hashes, in hex outside and as bytes inside.
type digest string

func (d digest) valid() bool {
	b, err := hex.DecodeString(string(d))
	return err == nil && len(b) == 32 && hex.EncodeToString(b) == string(d)
}

func (d digest) Value() (driver.Value, error) {
	b, err := hex.DecodeString(string(d))
	if err != nil {
		return nil, fmt.Errorf("%q is not a hash in hex", string(d))
	}
	return b, nil
}

func (d *digest) Scan(v any) error {
	s, err := scanString(v)
	*d = digest(hex.EncodeToString([]byte(s)))
	return err
}

func scanString(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case []byte:
		return string(v), nil
	default:
		return "", fmt.Errorf("column holds a %T where text was expected", v)
	}
}

// Times are microseconds since 1970; the zero time is 0.

func fromTime(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func toTime(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
