package guarded

import (
	"reflect"
	"time"
)

// sizeOf is about as many bytes as the value has when it is printed: at least that many, or more than the limit.
func sizeOf(v any, limit int) int {
	if s, ok := v.(string); ok {
		return len(s)
	}
	return printedSize(reflect.ValueOf(v), limit, 0)
}

// printedSize walks a value: there may be lists of pointers to structures with maps in it, and lists that hold themselves many times.
func printedSize(v reflect.Value, limit, depth int) int {
	const (
		plain = 40 // a number, a pointer, a brace or two
		deep  = 16
	)
	if depth > deep {
		return limit + 1
	}
	n := plain
	switch v.Kind() {
	case reflect.String:
		return v.Len()
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			n += printedSize(v.Elem(), limit, depth+1)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return 2 * plain
		}
		for i := 0; i < v.NumField() && n <= limit; i++ {
			n += len(v.Type().Field(i).Name) + printedSize(v.Field(i), limit, depth+1)
		}
	case reflect.Slice, reflect.Array:
		for i := 0; i < v.Len() && n <= limit; i++ {
			n += printedSize(v.Index(i), limit, depth+1)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next() && n <= limit; {
			n += printedSize(it.Key(), limit, depth+1) + printedSize(it.Value(), limit, depth+1) + 2
		}
	default: // plain
	}
	return n
}

// heldSize is about how much memory a value took that was just made: what it points to was there before.
func heldSize(v any) int {
	const least = 16
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.String:
		return r.Len()
	case reflect.Slice, reflect.Array:
		return least + r.Len()*int(r.Type().Elem().Size())
	case reflect.Map:
		return least + 48*r.Len()
	default:
		return least
	}
}
