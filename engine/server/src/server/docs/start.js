// Starts Swagger UI, on all services of the process or on one: `/docs?service=orders`.
//
// It runs before Swagger UI's own script, so that everything is fetched while the browser compiles that.

const isParsed = new Promise((done) => document.addEventListener("DOMContentLoaded", done));
const fetched = async (url) => (await fetch(url)).json();

const asked = new URLSearchParams(location.search).get("service") ?? "";
const configuration = fetched("/docs/config.json");
const documentOf = (service, form) => (service === "" ? `/openapi${form}.json` : `/openapi/${service}${form}.json`);

const { title, services, newest } = await configuration;
const service = services.includes(asked) ? asked : "";
// Swagger UI resolves the references of a 3.0 document in a tenth of the time.
const spec = fetched(documentOf(service, "-3.0"));

document.title = title;
document.getElementById("document").href = documentOf(service, "");
const select = document.getElementById("service");
for (const name of services) select.add(new Option(name, name, false, name === service));
select.addEventListener("change", () => {
  location.assign(select.value === "" ? "/docs" : `/docs?service=${select.value}`);
});

// The ids of the examples belong to nobody: what is sent instead is the newest object's, so that every example works as it
// stands.
async function withNewestIds(request) {
  for (const [example, { list, id }] of Object.entries(newest)) {
    if (!`${request.url} ${request.body ?? ""}`.includes(example)) continue;
    const answer = await fetch(list, { headers: authorization(request) });
    const found = answer.ok ? (await answer.json()).items[0]?.[id] : undefined;
    if (found === undefined) continue;
    request.url = request.url.replaceAll(example, found);
    if (typeof request.body === "string") request.body = request.body.replaceAll(example, found);
  }
  return request;
}

// Looking for the newest object needs what the request itself is allowed by.
function authorization(request) {
  const given = request.headers?.Authorization;
  return given === undefined ? {} : { Authorization: given };
}

// Filters by method, path, summary and service; every word must occur.
const Filter = () => ({
  fn: {
    opsFilter: (groups, phrase) => {
      const words = phrase.toLowerCase().split(/\s+/);
      const matches = (name) => (operation) => {
        const text = [name, operation.get("method"), operation.get("path"), operation.getIn(["operation", "summary"])];
        return words.every((word) => text.join(" ").toLowerCase().includes(word));
      };
      const filtered = groups.map((group, name) => group.update("operations", (all) => all.filter(matches(name))));
      return filtered.filter((group) => group.get("operations").size > 0);
    },
  },
  // The page has an input of its own.
  components: { FilterContainer: () => null },
});

const PROBLEM = ["content", "application/problem+json"];

// Lists an operation's problems below its other responses: a line for each status, with links to the pages that explain
// the codes. Problems that the document describes once for several operations are folded.
const Problems = ({ React: { createElement: h }, getComponent, specSelectors }) => {
  const Codes = ({ problem }) => {
    const codes = problem.getIn([...PROBLEM, "examples"])?.keySeq() ?? [];
    return [...codes].map((code) => h("a", { key: code, href: `/problems/${code}` }, h("code", null, code)));
  };
  const Row = ({ status, problem }) => {
    // The codes follow as links.
    const [meaning] = problem.get("description").split(" Code: ");
    const headers = problem.get("headers")?.keySeq().join(", ");
    return h("tr", null, h("td", null, status), h("td", null,
      h(getComponent("Markdown", true), { source: headers ? `${meaning} Headers: ${headers}.` : meaning }),
      h("div", { className: "codes" }, h(Codes, { problem }))));
  };
  const Table = ({ problems }) => h("table", { className: "problems" }, h("tbody", null,
    problems.entrySeq().map(([status, problem]) => h(Row, { key: status, status, problem })).toArray()));
  const Folded = ({ problems }) => h("details", { className: "shared-problems" },
    h("summary", null, `Also, as for other operations: ${problems.keySeq().join(", ")}`), h(Table, { problems }));

  const responses = (Responses) => (props) => {
    const declared = specSelectors.specJson().getIn(["paths", props.path, props.method, "responses"]);
    const problems = props.responses.filter((response) => response.hasIn(PROBLEM));
    const shared = problems.filter((_, status) => declared.hasIn([status, "$ref"]));
    const own = problems.filterNot((_, status) => shared.has(status));
    const others = props.responses.filterNot((_, status) => problems.has(status));
    return h("div", null, h(Responses, { ...props, responses: others }),
      own.size > 0 && h(Table, { problems: own }), shared.size > 0 && h(Folded, { problems: shared }));
  };
  return { wrapComponents: { responses } };
};

await isParsed;
const ui = SwaggerUIBundle({
  spec: await spec,
  dom_id: "#swagger-ui",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  persistAuthorization: true,
  plugins: [Filter, Problems],
  requestInterceptor: withNewestIds,
  validatorUrl: null,
});

const filter = document.getElementById("filter");
const apply = () => ui.layoutActions.updateFilter(filter.value.trim());
filter.addEventListener("input", apply);
// A browser keeps the input's text when it reloads the page.
if (filter.value !== "") apply();
