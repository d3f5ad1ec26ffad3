package hardware

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Reasons says why a field of a record is null, by the field's JSON key. In JSON each
// reason is beside its field as "<key>_reason", so that a reader never mistakes "not
// known" for zero or for "forgotten".
type Reasons map[string]string

const reasonSuffix = "_reason"

// add notes why key is null, making the map on first use.
func (r *Reasons) add(key, format string, args ...any) {
	if *r == nil {
		*r = Reasons{}
	}
	(*r)[key] = fmt.Sprintf(format, args...)
}

// An attempt is a value that may not be known.
type attempt[T any] struct {
	value T
	err   error
}

func try[T any](value T, err error) attempt[T] { return attempt[T]{value, err} }

// or gives the value, or nil with the reason noted under key.
func (a attempt[T]) or(r *Reasons, key string) *T {
	if a.err != nil {
		r.add(key, "%v", a.err)
		return nil
	}
	return &a.value
}

// marshalWithReasons encodes a struct and its reasons as one object.
func marshalWithReasons(record any, reasons Reasons) ([]byte, error) {
	object, err := json.Marshal(record)
	if err != nil || len(reasons) == 0 {
		return object, err
	}
	keyed := make(map[string]string, len(reasons))
	for key, why := range reasons {
		keyed[key+reasonSuffix] = why
	}
	tail, err := json.Marshal(keyed) // sorts the keys
	if err != nil {
		return nil, err
	}
	object[len(object)-1] = ','
	return append(object, tail[1:]...), nil
}

// unmarshalWithReasons is the inverse of marshalWithReasons.
func unmarshalWithReasons(object []byte, record any, reasons *Reasons) error {
	if err := json.Unmarshal(object, record); err != nil {
		return err
	}
	*reasons = nil
	// Most records have none, and decoding them again to find out takes as long as the
	// first time. An object with escapes, which may hide a key, is decoded all the same.
	if !bytes.Contains(object, []byte(reasonSuffix+`"`)) && !bytes.ContainsRune(object, '\\') {
		return nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(object, &fields); err != nil {
		return err
	}
	for field, raw := range fields {
		key, ok := strings.CutSuffix(field, reasonSuffix)
		if !ok {
			continue
		}
		var why string
		if err := json.Unmarshal(raw, &why); err != nil {
			return fmt.Errorf("decode %s: %w", field, err)
		}
		reasons.add(key, "%s", why)
	}
	return nil
}
