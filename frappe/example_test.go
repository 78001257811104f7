package frappe_test

import (
	"fmt"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// The same pair of API key and secret is the same credential in both of Frappe's forms. Printing it does not show the
// secret.
func ExampleParseCredential() {
	for _, header := range []string{
		"token 2c6245becaa0961:61066224add85e6",
		"Basic MmM2MjQ1YmVjYWEwOTYxOjYxMDY2MjI0YWRkODVlNg==",
		"Bearer 641cc7393fbf7e529b94837c181e81",
		"token 2c6245becaa0961",
	} {
		credential, err := frappe.ParseCredential(header)
		if err != nil {
			fmt.Println("Frappe refuses it.")
			continue
		}
		fmt.Printf("%s, with the API key %q\n", credential, credential.Key)
	}
	// Output:
	// token credential of API key 2c62…, with the API key "2c6245becaa0961"
	// basic credential of API key 2c62…, with the API key "2c6245becaa0961"
	// bearer credential, with the API key ""
	// Frappe refuses it.
}
