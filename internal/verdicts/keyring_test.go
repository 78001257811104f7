package verdicts

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// TestNothingOutlivesTheRequest: the pooled buffers, including the state of the hash, keep nothing of the credential.
func TestNothingOutlivesTheRequest(t *testing.T) {
	k := NewKeyring(nil)
	for _, secret := range []string{
		"short s3cret", strings.Repeat("long s3cret ", 4), strings.Repeat("longer s3cret ", 100),
	} {
		unwiped := k.macs.New().(*mac)
		unwiped.add(secret)
		unwiped.Write(unwiped.in)
		unwiped.in = nil
		if !holds(reflect.ValueOf(unwiped), "s3cret", nil) {
			t.Fatal("the search does not find an existing secret")
		}
		m := k.macs.New().(*mac)
		for use := range 3 {
			m.add("a key")
			m.add(secret)
			room := m.in[:cap(m.in)]
			m.sum()
			if holds(reflect.ValueOf(m), "s3cret", nil) || bytes.Contains(room, []byte("s3cret")) {
				t.Errorf("a secret of %d bytes is still there after use %d", len(secret), use)
			}
		}
	}
}

// holds reports whether a byte slice or array within a value holds the text.
func holds(v reflect.Value, text string, path []unsafe.Pointer) bool {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || slices.Contains(path, v.UnsafePointer()) {
			return false
		}
		return holds(v.Elem(), text, append(path, v.UnsafePointer()))
	case reflect.Interface:
		return !v.IsNil() && holds(v.Elem(), text, path)
	case reflect.Struct:
		for _, field := range v.Fields() {
			if holds(field, text, path) {
				return true
			}
		}
	case reflect.Array, reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Uint8 {
			return false
		}
		if v.Kind() == reflect.Slice {
			v = v.Slice(0, v.Cap())
		}
		all := make([]byte, v.Len())
		for i := range all {
			all[i] = byte(v.Index(i).Uint())
		}
		return bytes.Contains(all, []byte(text))
	default:
	}
	return false
}
