package main

import (
	"fmt"
	"slices"
	"strings"
)

// diffContext is how many lines that are the same are shown around those that differ.
const diffContext = 3

// maxCompared bounds the lines of one text times those of the other.
const maxCompared = 25_000_000

// edit is one line of a diff: ' ' in both, '-' in the first, '+' in the second.
type edit struct {
	op   byte
	line string
}

// unifiedDiff is the difference of two texts as diff -u prints it; empty where there is none.
func unifiedDiff(nameA, nameB, a, b string) string {
	all := edits(splitLines(a), splitLines(b))
	var out strings.Builder
	lineA, lineB := 1, 1
	for i := 0; i < len(all); {
		if all[i].op == ' ' {
			i, lineA, lineB = i+1, lineA+1, lineB+1
			continue
		}
		from := max(i-diffContext, 0)
		to := hunkEnd(all, i)
		if out.Len() == 0 {
			fmt.Fprintf(&out, "--- %s\n+++ %s\n", nameA, nameB)
		}
		var body strings.Builder
		countA, countB := 0, 0
		for _, e := range all[from:to] {
			fmt.Fprintf(&body, "%c%s\n", e.op, e.line)
			if e.op != '+' {
				countA++
			}
			if e.op != '-' {
				countB++
			}
		}
		fmt.Fprintf(&out, "@@ -%s +%s @@\n%s", span(lineA-(i-from), countA), span(lineB-(i-from), countB), body.String())
		lineA += countA - (i - from)
		lineB += countB - (i - from)
		i = to
	}
	return out.String()
}

// hunkEnd is where the hunk ends whose first difference is at i: differences closer than twice the context belong together.
func hunkEnd(edits []edit, i int) int {
	last := i
	for j := i; j < len(edits) && j <= last+2*diffContext+1; j++ {
		if edits[j].op != ' ' {
			last = j
		}
	}
	return min(last+1+diffContext, len(edits))
}

// span is a hunk's range. One without lines is named by the line before it.
func span(line, count int) string {
	if count == 0 {
		line--
	}
	if count == 1 {
		return fmt.Sprint(line)
	}
	return fmt.Sprintf("%d,%d", line, count)
}

func splitLines(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(s, "\n"), "\n")
}

// edits finds a shortest way from a to b, by the longest common subsequence of what is between their common ends.
func edits(a, b []string) []edit {
	var head, tail []edit
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		head = append(head, edit{' ', a[0]})
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		tail = append(tail, edit{' ', a[len(a)-1]})
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	head = append(head, between(a, b)...)
	for _, e := range slices.Backward(tail) {
		head = append(head, e)
	}
	return head
}

// between is edits of lines whose ends differ. Where there are too many to be compared, all of them differ.
func between(a, b []string) []edit {
	var out []edit
	if len(a)*len(b) > maxCompared {
		for _, line := range a {
			out = append(out, edit{'-', line})
		}
		for _, line := range b {
			out = append(out, edit{'+', line})
		}
		return out
	}
	// longest[i][j] is how much a[i:] and b[j:] have in common.
	longest := make([][]int, len(a)+1)
	for i := range longest {
		longest[i] = make([]int, len(b)+1)
	}
	for i, line := range slices.Backward(a) {
		for j, other := range slices.Backward(b) {
			if line == other {
				longest[i][j] = longest[i+1][j+1] + 1
			} else {
				longest[i][j] = max(longest[i+1][j], longest[i][j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, edit{' ', a[i]})
			i, j = i+1, j+1
		case i < len(a) && (j == len(b) || longest[i+1][j] >= longest[i][j+1]):
			out = append(out, edit{'-', a[i]})
			i++
		default:
			out = append(out, edit{'+', b[j]})
			j++
		}
	}
	return out
}
