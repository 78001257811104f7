package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

func (l loader) initCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "init [--site <url> | --bench <path>] [--site-name <name>] [--address <address>] [--login <host>] " +
			"[--output <file>] [--force]",
		Short: "Writes a Caddyfile for your site",
		Long: `
Finds out how credentials can be verified, and writes a commented Caddyfile that passes
doctor, to standard output or to the file --output.

--site is the URL of a site; init checks that Frappe answers there. --bench is the path of a
bench on this machine, or of its sites directory. If this Caddy has the database backend and
can read the site's site_config.json and tables, the Caddyfile uses the database; otherwise
it uses the bench's web server. Run the command as the user that Caddy runs as.

With --login, the Caddyfile also has the block of the ERP's host, in front of the site or the
bench's web server, and users of --address log in there.

Without --site and --bench, init asks, and proposes a bench that it finds on this machine. It
reads the answers from standard input; an empty line, or the end of the input, accepts the
proposal. Questions and findings go to standard error. No secret is shown.

Exit codes: 0 if the Caddyfile was written; 2 if nothing works, and nothing was written; 1 if
the command line is wrong, or the file exists and --force is missing.`,
		RunE: caddycmd.WrapCommandFuncForCobra(l.init),
	}
	cmd.Flags().String("site", "", "URL of a Frappe site")
	cmd.Flags().String("bench", "", "Path of a bench on this machine")
	cmd.Flags().String("site-name", "", "Name of the site on its bench")
	cmd.Flags().String("address", "", "Address that clients use (default: "+defaultAddress+", for this machine only)")
	cmd.Flags().String("login", "", "Host name of the ERP, where users of --address log in")
	cmd.Flags().StringP("output", "o", "", "File to write instead of standard output")
	cmd.Flags().Bool("force", false, "Overwrite the file")
	return cmd
}

// defaultAddress is port 8080, without TLS and, by the line bind, of this machine only. It has no host, because Caddy
// answers requests for any other host with an empty 200, as if nothing were protected.
const defaultAddress = ":8080"

// maxAttempts is how often init asks for another site before it gives up.
const maxAttempts = 10

func (l loader) init(fl caddycmd.Flags) (int, error) {
	site, dir, output := fl.String("site"), fl.String("bench"), fl.String("output")
	if site != "" && dir != "" {
		return caddy.ExitCodeFailedStartup, errors.New("use either --site or --bench, not both")
	}
	if _, err := os.Lstat(output); output != "" && err == nil && !fl.Bool("force") {
		return caddy.ExitCodeFailedStartup, existsAlready(output)
	}
	if err := checkSiteFlag(site); err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	d := dialog{in: bufio.NewReader(io.LimitReader(os.Stdin, maxAnswers)), out: os.Stderr, asks: site == "" && dir == ""}
	t, err := d.target(site, dir, fl.String("site-name"))
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	address, err := d.address(fl.String("address"))
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	erp, err := newERPHost(fl.String("login"), address)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	for range maxAttempts {
		text, err := l.choose(d.out, t, address, erp)
		switch {
		case err != nil && !d.asks:
			return caddy.ExitCodeFailedStartup, err
		case err != nil:
			fmt.Fprintf(d.out, "TROUBLE  %v\n", err)
		case text != "":
			if erp != nil {
				fmt.Fprintf(d.out, "\nSet %s where Caddy runs, to what `openssl rand -hex 32` prints.\n", loginSecret)
			}
			return save(d.out, output, text, address, fl.Bool("force"))
		}
		next := t
		if !d.asks || !d.another(&next) {
			break
		}
		t = next
	}
	fmt.Fprintln(d.out, "\nNothing was written, because nothing works yet. Fix what is marked TROUBLE, and try again.")
	return exitTrouble, nil
}

// choose returns the first Caddyfile for a target in which doctor finds no trouble, or an empty one. It writes the
// findings to w. It returns an error if the URL or a name is wrong.
func (l loader) choose(w io.Writer, t target, address string, erp *erpHost) (string, error) {
	if t.bench != nil && !builtIn(databaseModule) {
		fmt.Fprintln(w,
			"This Caddy has no database backend, so the site is asked. To look up credentials in the site's database,",
			"build Caddy with github.com/caddy-frappe/frappe-auth/database.")
	}
	for _, p := range t.proposals() {
		if erp != nil && p.database != "" {
			continue // it cannot end sessions
		}
		text, err := p.caddyfile(address, erp)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(w, "\nTrying %s:\n", p.title())
		r, err := l.examineCaddyfile(text)
		if err != nil && t.bench == nil {
			return "", err
		}
		if err != nil {
			fmt.Fprintf(w, "TROUBLE  %v\n", err)
			continue
		}
		if err := r.writeTables(w); err != nil {
			return "", err
		}
		if r.code() == 0 {
			return text, nil
		}
	}
	return "", nil
}

// save writes the Caddyfile to a file, or to standard output if the file name is empty. It says what to do next.
func save(w io.Writer, file, text, address string, force bool) (int, error) {
	if file == "" {
		if _, err := io.WriteString(os.Stdout, text); err != nil {
			return caddy.ExitCodeFailedStartup, err
		}
		return 0, nil
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	out, err := os.OpenFile(file, flags, 0o644) //nolint:gosec // the operator names the file, and it holds no secret
	if errors.Is(err, fs.ErrExist) {
		return caddy.ExitCodeFailedStartup, existsAlready(file)
	}
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	_, err = io.WriteString(out, text)
	if err = errors.Join(err, out.Close()); err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	adapter := ""
	if base := strings.ToLower(filepath.Base(file)); !strings.HasPrefix(base, "caddyfile") &&
		!strings.HasSuffix(base, ".caddyfile") {
		adapter = " --adapter caddyfile" // otherwise Caddy would read the file as JSON
	}
	fmt.Fprintf(w, "\nWrote %s. Start Caddy with: %s run --config %s%s\n",
		file, invocation(os.Args[0]), shellWord(file), adapter)
	if other := listening(address); other != "" {
		fmt.Fprintf(w, "Stop the server at %s first: a second Caddy starts beside it, and both answer.\n", other)
	}
	if try := request(address); try != "" {
		fmt.Fprintf(w, "Then send it a request:     %s\n", try)
	}
	return 0, nil
}

func existsAlready(file string) error {
	return fmt.Errorf("%s already exists; name another file, or overwrite it with --force", file)
}

// maxAnswers is the size of all answers together, in bytes.
const maxAnswers = 64 << 10

// dialog asks the operator.
type dialog struct {
	in   *bufio.Reader
	out  io.Writer
	asks bool // false: the command line says where Frappe is
}

// answer asks a question. It returns the proposal if there is no answer or an empty one.
func (d dialog) answer(question, proposed string) (string, error) {
	if proposed != "" {
		question += " [" + proposed + "]"
	}
	fmt.Fprint(d.out, question+": ")
	line, err := d.in.ReadString('\n')
	if err != nil {
		fmt.Fprintln(d.out)
		if !errors.Is(err, io.EOF) {
			return "", err
		}
	}
	if line = strings.TrimSpace(line); line != "" {
		return line, nil
	}
	return proposed, nil
}

// target returns where Frappe is, from the flags or by asking.
func (d dialog) target(site, dir, siteName string) (target, error) {
	if d.asks {
		proposed, _ := findBench(commonBenches()...)
		where, err := d.answer("Where is Frappe? Write the URL of a site, such as https://erp.example.com, or the path of "+
			"a bench on this machine", proposed)
		if err != nil {
			return target{}, err
		}
		if where == "" {
			return target{}, errors.New("no bench was found on this machine; use --site or --bench")
		}
		if isURL(where) {
			site = where
		} else {
			dir = where
		}
	}
	if dir == "" {
		return target{url: site, siteName: siteName}, nil
	}
	return d.onBench(dir, siteName)
}

// onBench chooses a site of a bench.
func (d dialog) onBench(dir, name string) (target, error) {
	b, err := openBench(dir)
	if err != nil {
		return target{}, fmt.Errorf("--bench: %w", err)
	}
	all := strings.Join(b.sites, ", ")
	proposed := b.defaultSite
	if len(b.sites) == 1 {
		proposed = b.sites[0]
	}
	switch {
	case name == "" && d.asks && len(b.sites) > 1:
		if name, err = d.answer("Which site of the bench ("+all+")?", proposed); err != nil {
			return target{}, err
		}
	case name == "":
		name = proposed
	}
	switch {
	case name == "":
		return target{}, fmt.Errorf("the bench has several sites; choose one with --site-name: %s", all)
	case !slices.Contains(b.sites, name):
		return target{}, fmt.Errorf("the bench has no site with that name; choose one with --site-name: %s", all)
	}
	return target{bench: &b, siteName: name}, nil
}

// another asks for another target, and returns false if the operator wants to stop.
func (d dialog) another(t *target) bool {
	for range maxAttempts {
		answer, err := d.answer("That does not work yet. Write another URL, another bench, the name of the site on its "+
			"bench, or nothing to stop", "")
		switch {
		case err != nil || answer == "":
			return false
		case isURL(answer):
			*t = target{url: answer}
			return true
		case t.bench == nil && !strings.ContainsRune(answer, filepath.Separator):
			t.siteName = answer
			return true
		case t.bench != nil && slices.Contains(t.bench.sites, answer):
			t.siteName = answer
			return true
		}
		next, err := d.onBench(answer, "")
		if err == nil {
			*t = next
			return true
		}
		fmt.Fprintln(d.out, err)
	}
	return false
}

// address returns the address that clients use, from the flag or by asking.
func (d dialog) address(address string) (_ string, err error) {
	if address == "" && d.asks {
		if address, err = d.answer("Which address do clients use? Write your host name, or nothing for this machine only",
			defaultAddress); err != nil {
			return "", err
		}
	}
	if address == "" {
		return defaultAddress, nil
	}
	word, err := directive.Word(address)
	if err == nil {
		_, err = adapt(word + " {\n\trespond ok\n}\n")
	}
	if err != nil {
		return "", fmt.Errorf("--address: write an address such as files.example.com or %s: %w", defaultAddress, err)
	}
	return address, nil
}

// checkSiteFlag returns an error if the flag --site is set to something other than the address of a site.
func checkSiteFlag(site string) error {
	if site == "" || isURL(site) || strings.HasPrefix(site, "unix/") {
		return nil
	}
	return errors.New("--site: write http:// or https:// and a host, such as https://erp.example.com")
}

func isURL(text string) bool { return strings.Contains(text, "://") }

// commonBenches returns the usual directories of benches: this one, one in the home directory, and that of
// frappe_docker.
func commonBenches() []string {
	dirs := []string{"."}
	if home, err := os.UserHomeDir(); err == nil {
		dirs = append(dirs, filepath.Join(home, "frappe-bench"))
	}
	return append(dirs, "/home/frappe/frappe-bench")
}
