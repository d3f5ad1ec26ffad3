package reports

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"genbench/bench"
)

// JSON writes an array with one object a point, each on a line of its own. Every
// object stands alone: it carries the doubts about its run as well. What is not
// known is null, with the reason beside it under the same key and "_reason".
func JSON(w io.Writer, results ...*bench.Result) error {
	var b bytes.Buffer
	b.WriteByte('[')
	for i, r := range rowsOf(results) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
		if err := writeObject(&b, r); err != nil {
			return fmt.Errorf("write JSON of point %s: %w", r.Point, err)
		}
	}
	b.WriteString("\n]\n")
	_, err := w.Write(b.Bytes())
	return err
}

// writeObject writes the columns in their order, which a map would lose. Columns
// of one parent stand together in the table.
func writeObject(b *bytes.Buffer, r row) error {
	object := objectWriter{b: b}
	parent := ""
	b.WriteByte('{')
	for _, c := range columns() {
		group, key, nested := strings.Cut(c.key, ".")
		if !nested {
			group, key = "", c.key
		}
		if group != parent {
			if parent != "" {
				b.WriteByte('}')
			}
			if group != "" {
				object.key(group)
				b.WriteByte('{')
				object.started = false
			} else {
				object.started = true
			}
			parent = group
		}
		if err := object.member(key, c.cell(r)); err != nil {
			return err
		}
	}
	if parent != "" {
		b.WriteByte('}')
		object.started = true
	}
	// A point has dozens of layers: they are no column, and of a run that was not asked
	// for them nothing is said.
	if r.run.Log.Run.Config.Layers {
		if err := writeLayerMembers(object, r); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

// writeLayerMembers writes what the layer pass found, or why it found nothing.
func writeLayerMembers(object objectWriter, r row) error {
	if r.Layers == nil {
		return object.member("layers", unknown("%s", cmp.Or(r.NoLayers, r.without())))
	}
	if err := object.member("layers", cell{value: layerObjects(r)}); err != nil {
		return err
	}
	return object.member("layers_sum_ms", cell{value: r.Layers.Sum / 1e6})
}

// An objectWriter writes the members of an object.
type objectWriter struct {
	b       *bytes.Buffer
	started bool // a member stands before the next one
}

func (o *objectWriter) key(k string) {
	if o.started {
		o.b.WriteByte(',')
	}
	o.started = true
	fmt.Fprintf(o.b, "%q:", k)
}

func (o *objectWriter) member(key string, c cell) error {
	o.key(key)
	if err := o.value(c.value); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	if c.value == nil {
		o.key(key + reasonSuffix)
		return o.value(c.reason)
	}
	return nil
}

func (o *objectWriter) value(v any) error {
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	o.b.Write(bytes.TrimRight(line.Bytes(), "\n"))
	return nil
}

// reasonSuffix makes the key of the reason why another key is null.
const reasonSuffix = "_reason"
