package cache

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

const mostCharacters = 1024

// Check returns an error unless this may be the name of an entry.
func Check(name string) error {
	if name == "" || utf8.RuneCountInString(name) > mostCharacters || strings.ContainsFunc(name, isControl) {
		return fmt.Errorf("an entry's name has 1 to %d characters, none of control: %q", mostCharacters, name)
	}
	if strings.HasPrefix(name, "invalidator:") {
		return fmt.Errorf("names that begin with invalidator: are its own: %s", name)
	}
	return nil
}

func isControl(letter rune) bool { return letter < 0x20 || (letter >= 0x7f && letter < 0xa0) }

// Segment escapes the colon, so that a value is one segment of a name whatever it holds.
func Segment(value string) string {
	return strings.NewReplacer("%", "%25", ":", "%3A").Replace(value)
}
