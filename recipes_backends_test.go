package frappeauth_test

func tenants(r *recipe) {
	r.get("two.erp.example.com/report.txt", 200, "of two", byAlice)
	r.get("two.erp.example.com/report.txt", 401, "", wrongSecret)
	r.get("three.erp.example.com/report.txt", 404, "", byAlice)
}

func severalBackends(r *recipe) {
	r.get("files.example.com/report.txt", 200, "report", byAlice) // listed
	if r.asked.Load() != 0 {
		r.t.Error("the site was asked about a listed key")
	}
	r.get("files.example.com/report.txt", 200, "report", byBob) // the site's
	r.get("files.example.com/report.txt", 401, "", "Authorization: token x:y")
}
