package cache

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
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

var (
	slot       = regexp.MustCompile(`\{([^{}]*)\}`)
	firstCount = regexp.MustCompile(`^first\((\d+)\)$`)
)

var filters = map[string]func(string) string{
	// The full mappings of Unicode, as other readers have them: strings.ToUpper leaves the letter sharp s.
	"lower":     func(text string) string { return cases.Lower(language.Und).String(text) },
	"upper":     func(text string) string { return cases.Upper(language.Und).String(text) },
	"trim":      strings.TrimSpace,
	"segment":   strings.NewReplacer("%", "%25", ":", "%3A").Replace,
	"urlencode": func(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") },
	"md5":       func(text string) string { sum := md5.Sum([]byte(text)); return hex.EncodeToString(sum[:]) },
	"sha1":      func(text string) string { sum := sha1.Sum([]byte(text)); return hex.EncodeToString(sum[:]) },
	"sha256":    func(text string) string { sum := sha256.Sum256([]byte(text)); return hex.EncodeToString(sum[:]) },
}

// Render renders a template such as `order:single:{id}` or `user:{name|lower|segment}` as the rules
// of the daemon do. Values are texts, integers, booleans, json.Numbers, and maps of these.
func Render(template string, values map[string]any) (string, error) {
	var failed error
	name := slot.ReplaceAllStringFunc(template, func(found string) string {
		text, err := filled(found[1:len(found)-1], values)
		if err != nil && failed == nil {
			failed = fmt.Errorf("%s: %w", template, err)
		}
		return text
	})
	if failed != nil {
		return "", failed
	}
	return name, Check(name)
}

func filled(slot string, values map[string]any) (string, error) {
	parts := strings.Split(slot, "|")
	path, fallback, optional := strings.Cut(strings.TrimSpace(parts[0]), ":-")
	var value any = values
	for _, step := range strings.Split(path, ".") {
		inner, _ := value.(map[string]any)
		value = inner[step]
	}
	if optional && (value == nil || value == "") {
		value = fallback
	}
	text, err := textOf(path, value)
	for _, filter := range parts[1:] {
		if err == nil {
			text, err = applied(path, strings.TrimSpace(filter), text)
		}
	}
	return text, err
}

func applied(path, filter, text string) (string, error) {
	if count := firstCount.FindStringSubmatch(filter); count != nil {
		most, err := strconv.Atoi(count[1])
		letters := []rune(text)
		return string(letters[:min(most, len(letters))]), err
	}
	apply, known := filters[filter]
	if !known {
		return "", fmt.Errorf("no filter is called %s", filter)
	}
	if text = apply(text); text == "" {
		return "", fmt.Errorf("%s is empty after %s", path, filter)
	}
	return text, nil
}

func textOf(path string, value any) (string, error) {
	switch found := value.(type) {
	case bool:
		return strconv.FormatBool(found), nil
	case int:
		return strconv.Itoa(found), nil
	case int64:
		return strconv.FormatInt(found, 10), nil
	case uint64:
		return strconv.FormatUint(found, 10), nil
	case json.Number:
		if strings.ContainsAny(found.String(), ".eE") {
			return "", fmt.Errorf("%s is %s where text or an integer belongs", path, found)
		}
		return found.String(), nil
	case string:
		if found == "" || strings.ContainsFunc(found, isControl) {
			return "", fmt.Errorf("%s is empty, or has a control character: %q", path, found)
		}
		return found, nil
	}
	return "", fmt.Errorf("%s is %v where text or an integer belongs", path, value)
}
