// Prints what it gets from a URL, by the standard library's own client.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func main() {
	answer, err := http.Get(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != 200 {
		fmt.Fprintln(os.Stderr, answer.Status, err)
		os.Exit(1)
	}
	fmt.Println(strings.TrimSpace(string(body)))
}
