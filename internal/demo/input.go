package demo

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/mail"
	"time"
)

// decode reads a body strictly: one JSON object, no members the operation does
// not know.
func decode(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return problem{Code: "invalid", Message: "the body is not the expected JSON object: " + err.Error()}
	}
	if _, err := d.Token(); err != io.EOF {
		return problem{Code: "invalid", Message: "the body holds more than one JSON value"}
	}
	return nil
}

// fields gathers what is wrong with an input.
type fields []fieldProblem

func (f *fields) check(ok bool, field, message string) {
	if !ok {
		*f = append(*f, fieldProblem{field, message})
	}
}

func (f *fields) text(s, field string) { f.check(s != "", field, "must not be empty") }

func (f *fields) email(s, field string) {
	a, err := mail.ParseAddress(s)
	f.check(err == nil && a.Address == s, field, "must be an e-mail address")
}

func (f *fields) time(s, field string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	f.check(err == nil, field, "must be an RFC 3339 date and time")
	return t
}

func (f fields) err() error {
	if len(f) == 0 {
		return nil
	}
	return problem{Code: "invalid", Message: f[0].Field + " " + f[0].Message, Fields: f}
}

func asProblem(err error) problem {
	if p, ok := errors.AsType[problem](err); ok {
		return p
	}
	return problem{Code: "invalid", Message: err.Error()}
}
