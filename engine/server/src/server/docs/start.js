// Starts Swagger UI, on all services of the process or on one: `/docs?service=orders`.

const { title, services, newest } = await (await fetch("/docs/config.json")).json();
document.title = title;

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

const asked = new URLSearchParams(location.search).get("service");
const service = services.includes(asked) ? asked : "";
const url = service === "" ? "/openapi.json" : `/openapi/${service}.json`;

const select = document.getElementById("service");
for (const name of services) select.add(new Option(name, name, false, name === service));
select.addEventListener("change", () => {
  location.assign(select.value === "" ? "/docs" : `/docs?service=${select.value}`);
});
document.getElementById("document").href = url;

SwaggerUIBundle({
  url,
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  persistAuthorization: true,
  requestInterceptor: withNewestIds,
  validatorUrl: null,
});
