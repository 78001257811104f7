package directive

import "strings"

// Nearest returns the candidate that a misspelled name was probably meant to be. found is false if no candidate is near
// enough. Of equally near candidates, the first is returned.
func Nearest(name string, candidates []string) (nearest string, found bool) {
	name = strings.ToLower(name)
	best := min(3, (len(name)+1)/3) + 1
	for _, candidate := range candidates {
		if d := distance(name, candidate); d < best {
			nearest, best, found = candidate, d, true
		}
	}
	if found || len(name) < 4 {
		return nearest, found
	}
	for _, candidate := range candidates {
		if len(candidate) >= 4 && (strings.Contains(candidate, name) || strings.Contains(name, candidate)) {
			return candidate, true
		}
	}
	return "", false
}

// distance returns how many letters must be inserted, deleted or replaced, and how many neighbors swapped, to turn a into
// b (optimal string alignment).
func distance(a, b string) int {
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, above, row = above, row, before
		row[0] = i + 1
		for j := range len(b) {
			replace := above[j]
			if a[i] != b[j] {
				replace++
			}
			row[j+1] = min(replace, above[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
