package reports

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"

	"genbench/bench"
)

// CSV writes one line a point under a header, for spreadsheets and data frames.
// Keys are JSON's with underscores for dots. What is not known is an empty field;
// the last column has the reasons.
func CSV(w io.Writer, results ...*bench.Result) error {
	out := csv.NewWriter(w)
	columns := columns()
	header := make([]string, 0, len(columns)+1)
	for _, c := range columns {
		header = append(header, csvKey(c.key))
	}
	if err := out.Write(append(header, "unknown")); err != nil {
		return err
	}
	for _, r := range rowsOf(results) {
		var line, unknown []string
		for _, c := range columns {
			cell := c.cell(r)
			if cell.value == nil {
				unknown = append(unknown, csvKey(c.key)+": "+cell.reason)
			}
			line = append(line, csvField(cell.value))
		}
		if err := out.Write(append(line, strings.Join(unknown, "; "))); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

func csvKey(key string) string { return strings.ReplaceAll(key, ".", "_") }

func csvField(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case []bench.Warning:
		codes := make([]string, len(v))
		for i, w := range v {
			codes[i] = string(w.Code)
		}
		return strings.Join(codes, " ")
	case []bench.Rule:
		ids := make([]string, len(v))
		for i, rule := range v {
			ids[i] = rule.ID
		}
		return strings.Join(ids, " ")
	case []string:
		return strings.Join(v, "; ")
	}
	return fmt.Sprint(v)
}
