package rule

import (
	"fmt"
	"strconv"
)

// Value is a sample's value. In JSON it is a string, which has NaN and the infinities.
type Value float64

// MarshalText writes the value as Prometheus does.
func (v Value) MarshalText() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(v), 'g', -1, 64), nil
}

// UnmarshalText reads what MarshalText wrote.
func (v *Value) UnmarshalText(b []byte) error {
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return fmt.Errorf("the value of an alert: %w", err)
	}
	*v = Value(f)
	return nil
}
