// What is done in the browser, in a world that main.rs has made.
import assert from "node:assert/strict";
import http from "node:http";
import { at, base, DESKTOP, downloaded, figures, judge, PHONE, plan, run, test, tokens, visitor } from "./harness.mjs";

const MARTIN = at("files", "Clients", "Atelier Martin");
const TRIALS = at("files", "Clients", "Essais");

test("log in, and be told what was wrong", async () => {
  const { context, page } = await visitor();
  await page.goto(`${base}/browse/${MARTIN}`);
  assert.match(page.url(), /\/login\?next=/);
  assert.equal(await page.evaluate(() => document.activeElement.id), "token", "the field has the focus");
  await judge(page, "login");
  await page.fill("#token", "nobody's");
  await page.keyboard.press("Enter");
  await page.waitForSelector("[role=alert]");
  await judge(page, "login-wrong");
  await page.fill("#token", tokens.marie);
  await page.keyboard.press("Enter");
  await page.waitForSelector(".files");
  assert.equal(page.url(), `${base}/browse/${MARTIN}`, "where one wanted to go");
  const [cookie] = await context.cookies();
  assert.deepEqual([cookie.name, cookie.httpOnly, cookie.sameSite], ["portail", true, "Strict"]);
  await page.click("form[action='/logout'] button");
  await page.waitForURL(/\/login/);
  assert.deepEqual(await context.cookies(), []);
  await page.goto(`${base}/browse/${MARTIN}`);
  assert.match(page.url(), /\/login/, "the session has ended");
  await context.close();
});

// Every page, in each language, width and colour scheme.
const LOOKS = [["en", "light", DESKTOP], ["fr", "dark", DESKTOP], ["fr", "light", PHONE], ["en", "dark", PHONE]];
for (const [locale, scheme, size] of LOOKS) {
  const look = `${locale}-${scheme}-${size === PHONE ? "phone" : "desktop"}`;
  test(`every page, ${look}`, async () => {
    const { context, page } = await visitor({ token: tokens.marie, locale, scheme, size });
    const pages = {
      home: "/", folder: "/browse/files", directory: `/browse/${MARTIN}`, many: "/browse/Archives/many", states: "/browse/Scans",
      "empty-folder": "/browse/Empty", search: `/browse/files?q=a`, "search-nothing": "/browse/files?q=zzzzzz", "search-everywhere": "/search?q=doc",
      picture: `/file/${MARTIN}/${encodeURIComponent("façade nord.bmp")}`, drawing: `/file/${TRIALS}/plan.svg`,
      pdf: `/file/${MARTIN}/${encodeURIComponent("Rapport annuel 2025.pdf")}`, "no-preview": `/file/${MARTIN}/budget.xlsx`,
      failed: "/file/Scans/lease.pdf", hostile: `/browse/${at("files", "Noms difficiles")}`, links: "/links",
      "not-found": "/browse/files/nothing/here", "no-link": "/l/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    };
    for (const [name, address] of Object.entries(pages)) {
      await page.goto(base + address, { waitUntil: "load" });
      if (name === "pdf") await page.frameLocator(".stage iframe").locator("body, embed").first().waitFor({ state: "attached" });
      await judge(page, `${name}-${look}`);
      assert.equal(await page.getAttribute("html", "lang"), locale);
    }
    await context.close();
  });
}

test("search as one types, without the page being left", async () => {
  const { context, page } = await visitor({ token: tokens.marie });
  await page.goto(`${base}/browse/files`);
  await page.evaluate(() => { window.stayed = true; });
  await page.keyboard.press("Control+k");
  assert.equal(await page.evaluate(() => document.activeElement.id), "q");
  await page.keyboard.type("ANNEX", { delay: 20 });
  await page.waitForFunction(() => document.querySelectorAll(".files tbody tr").length === 1);
  assert.match(await page.innerText(".files tbody tr"), /annexe A\.docx/);
  assert.match(await page.innerText(".found"), /1 file found/);
  assert.match(page.url(), /\?q=ANNEX$/);
  assert.equal(await page.evaluate(() => document.activeElement.id), "q", "the field keeps the focus");
  await judge(page, "search-typed");
  await page.keyboard.press("ArrowDown");
  assert.equal(await page.evaluate(() => document.activeElement.textContent.trim()), "annexe A.docx");
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => document.querySelectorAll(".files .dir").length === 3);
  assert.equal(page.url(), `${base}/browse/files`);
  assert.equal(await page.evaluate(() => window.stayed), true);
  // What LIKE would take for anything is looked for as it is.
  await page.fill("#q", "100%_");
  await page.waitForSelector("#results .empty");
  await page.goto(`${base}/`);
  await page.fill("#q", "document 0999");
  await page.waitForFunction(() => document.querySelectorAll(".files tbody tr").length === 50);
  assert.match(page.url(), /\/search\?q=document/);
  await context.close();
});

test("a large directory is shown a page at a time, in any order", async () => {
  const { context, page } = await visitor({ token: tokens.marie });
  await page.goto(`${base}/browse/Archives/many`);
  const names = () => page.$$eval(".files tbody bdi", (all) => all.map((name) => name.textContent));
  assert.deepEqual((await names()).slice(0, 2), ["document 000001.pdf", "document 000002.pdf"]);
  await page.click("#more");
  await page.waitForFunction(() => document.querySelectorAll(".files tbody tr").length === 200);
  assert.equal((await names())[150], "document 000151.pdf");
  assert.equal(new Set(await names()).size, 200);
  assert.equal(await page.evaluate(() => document.activeElement.textContent.trim()), "document 000101.pdf", "the focus goes on");
  await page.click(".files thead .size a");
  await page.waitForSelector("th.size[aria-sort=descending]");
  const sizes = await page.$$eval(".files td.size", (all) => all.map((size) => parseFloat(size.textContent)));
  assert.ok(sizes[0] >= 9.9 && sizes.every((size, index) => index === 0 || sizes[index - 1] >= size), `${sizes.slice(0, 5)}`);
  await page.click(".files thead .date a");
  await page.waitForSelector("th.date[aria-sort=descending]");
  assert.equal((await names())[0], "document 000001.pdf", "the newest first");
  await page.click(".files thead .date a");
  await page.waitForSelector("th.date[aria-sort=ascending]");
  assert.equal((await names())[0], `document ${String(plan.many).padStart(6, "0")}.pdf`);
  await context.close();
});

test("create a link from the list, copy it with one click, open it, and put an end to it", async () => {
  const { context, page } = await visitor({ token: tokens.marie, permissions: ["clipboard-read", "clipboard-write"] });
  await page.goto(`${base}/browse/files`);
  const row = page.locator(".files tbody tr", { hasText: "welcome.txt" });
  await row.locator("a.share").click();
  await page.waitForSelector("dialog[open]");
  await judge(page, "share-dialog");
  await page.fill("dialog #max_uses", "1");
  await page.click("dialog button[type=submit]");
  await page.waitForSelector("dialog .done");
  await judge(page, "share-created");
  assert.equal(await page.evaluate(() => document.activeElement.id), "new-link", "the link has the focus");
  await page.click("dialog [data-copy]");
  await page.waitForFunction(() => document.querySelector("[data-copy] span").textContent === "Copied");
  const link = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(link, new RegExp(`^${base}/l/[A-Za-z0-9_-]{22,}$`));
  assert.equal(link, await page.inputValue("#new-link"));
  await page.keyboard.press("Escape");
  await page.waitForSelector("dialog", { state: "detached" });
  assert.equal(await page.evaluate(() => document.activeElement.className), "share", "the focus is back");

  const stranger = await visitor({ locale: "fr" });
  const download = await downloaded(stranger.page, () => stranger.page.goto(link).catch(() => {}));
  assert.equal(download.content, ".".repeat(57));
  assert.equal(download.name, "welcome.txt");
  await stranger.page.goto(link);
  assert.equal(await stranger.page.innerText("h1"), "Ce lien est épuisé");
  await judge(stranger.page, "link-used-up");

  // Another one, which is revoked before it is used.
  await page.goto(`${base}/file/files/welcome.txt`);
  await page.selectOption("#version", "pinned");
  await page.selectOption("#expires_in", { label: "1\u00a0day" });
  await page.click("#share button[type=submit]");
  await page.waitForSelector("#share .done");
  await page.waitForFunction(() => document.activeElement.id === "new-link");
  const second = await page.inputValue("#new-link");
  await page.click(".main-nav a[href='/links']");
  await judge(page, "links-two");
  const active = page.locator(".links > li", { has: page.locator(".standing.good") });
  assert.equal(await active.count(), 1);
  assert.match(await active.innerText(), /welcome\.txt[^]*This version only/);
  await active.locator("button[popovertarget]").first().click();
  await page.waitForSelector("[popover]:popover-open");
  await judge(page, "revoke-question");
  await page.locator("[popover]:popover-open button[type=submit]").click();
  await page.waitForSelector(".notice.good");
  assert.equal(await page.locator(".links > li .standing.good").count(), 0);
  await judge(page, "links-revoked");
  await stranger.page.goto(second);
  assert.equal(await stranger.page.innerText("h1"), "Ce lien a été révoqué");
  await judge(stranger.page, "link-revoked");
  await stranger.context.close();
  await context.close();
});

test("hostile names are shown as they are, run nothing, and are downloaded under their own name", async () => {
  const { context, page } = await visitor({ token: tokens.marie });
  const visible = (name) => name.replace(/[\u0000-\u001f\u202e]/g, (c) => `⟨U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
  for (const { path: file, content } of plan.hostile) {
    const parts = file.split("/");
    const name = parts.pop();
    // Down to it from the top, by clicks.
    await page.goto(`${base}/browse/files`);
    for (const part of [...parts, name]) {
      const all = await page.$$eval(".files tbody bdi", (names) => names.map((found) => found.textContent));
      const index = all.indexOf(visible(part));
      assert.ok(index >= 0, `${JSON.stringify(part)} among ${JSON.stringify(all)}`);
      await page.locator(".files tbody .name a").nth(index).click();
      await page.waitForFunction((text) => document.querySelector("h1")?.textContent === text, visible(part));
    }
    await judge(page, `hostile-${plan.hostile.findIndex((other) => other.path === file)}`, { shot: name.length > 200 });
    const download = await downloaded(page, () => page.click("a[download]"));
    assert.equal(download.content, content, JSON.stringify(name));
    const disposition = new URL(download.url).searchParams.get("response-content-disposition");
    const encoded = /filename\*=UTF-8''(\S+)$/.exec(disposition);
    const sent = encoded ? decodeURIComponent(encoded[1]) : /^attachment; filename="([^"]*)"$/.exec(disposition)[1];
    assert.equal(sent, name, "the name as the store tells it");
    // The found one is the same as the one that was browsed to.
    const query = name.slice(0, 60).trim();
    await page.goto(`${base}/browse/files?q=${encodeURIComponent(query)}`);
    const found = await page.$$eval(".files tbody bdi", (names) => names.map((each) => each.textContent));
    assert.ok(found.includes(visible(name)), `search for ${JSON.stringify(query)}: ${JSON.stringify(found)}`);
    assert.equal(await page.evaluate(() => window.pwned), undefined);
  }
  await context.close();
});

test("pictures and documents are looked at, and never run", async () => {
  const { context, page } = await visitor({ token: tokens.marie });
  await page.goto(`${base}/file/${MARTIN}/${encodeURIComponent("façade nord.bmp")}`);
  await page.waitForFunction(() => document.querySelector(".stage img").naturalWidth === 640);
  await page.goto(`${base}/file/${TRIALS}/plan.svg`);
  await page.waitForFunction(() => document.querySelector(".stage img").naturalWidth > 0);
  assert.equal(await page.evaluate(() => window.pwned), undefined);
  await page.goto(`${base}/file/${TRIALS}/broken.png`);
  await page.waitForSelector(".stage-failed:not([hidden])");
  await judge(page, "broken-picture");
  await page.goto(`${base}/file/${TRIALS}/page.html`);
  assert.equal(await page.locator(".stage iframe, .stage img").count(), 0, "a page has no preview");
  const download = await downloaded(page, () => page.evaluate(() => {
    // In this tab, so that the download is seen here.
    const open = document.querySelector(".actions a[target]");
    open.removeAttribute("target");
    open.click();
  }));
  assert.match(download.content, /pwned/, "and is saved, even when it is to be opened");
  await context.close();
});

test("browsing, searching, sharing and revoking need no script", async () => {
  const { context, page } = await visitor({ javaScriptEnabled: false, locale: "fr" });
  await page.goto(`${base}/login`);
  await page.fill("#token", tokens.marie);
  await page.click("main button[type=submit]");
  await page.click(".card h2 >> text=files");
  await page.click(".files >> text=Clients");
  await page.fill("#q", "budget");
  await page.keyboard.press("Enter");
  await page.waitForURL(/q=budget/);
  await page.click(".files .name a");
  await page.fill("#max_uses", "3");
  await page.click("#share button[type=submit]");
  const link = await page.inputValue("#new-link");
  assert.match(link, /\/l\//);
  await page.click(".main-nav a[href='/links']");
  await page.locator(".links > li", { hasText: "budget.xlsx" }).first().locator("button[popovertarget]").first().click();
  await page.locator("[popover]:popover-open button[type=submit]").click();
  await page.waitForURL(/revoked=1/);
  const answer = await context.request.get(link, { maxRedirects: 0 });
  assert.equal(answer.status(), 410);
  await page.goto(`${base}/browse/Archives/many`);
  await page.click("#more");
  await page.waitForURL(/after=/);
  assert.match(await page.innerText(".files tbody tr"), /document 000101/);
  await context.close();
});

test("who may only read is told so, and an administrator sees everybody's links", async () => {
  const { context, page } = await visitor({ token: tokens.paul });
  await page.goto(`${base}/file/files/welcome.txt`);
  assert.equal(await page.locator("#share form").count(), 0);
  await judge(page, "read-only");
  const refused = await page.evaluate(async () => {
    const body = new URLSearchParams({ form_token: document.querySelector("[name=form_token]").value, expires_in: "60" });
    return (await fetch(location.href, { method: "POST", body, headers: { accept: "text/html" } })).status;
  });
  assert.equal(refused, 403);
  await context.close();
  const admin = await visitor({ token: tokens.admin });
  await admin.page.goto(`${base}/links`);
  await admin.page.click("text=Everybody’s links");
  await admin.page.waitForSelector(".links >> text=Created by marie");
  await judge(admin.page, "links-everybody");
  await admin.context.close();
});

test("another site can't do anything in somebody's name", async () => {
  const { context, page } = await visitor({ token: tokens.marie });
  const attack = http.createServer((_, response) => {
    response.setHeader("content-type", "text/html");
    response.end(`<form method="post" action="${base}/file/files/welcome.txt"><input name="expires_in" value="60"></form>
      <form method="post" action="${base}/logout"></form>`);
  }).listen(0);
  // Another port is the same site: the cookie goes along, and what else there is must hold.
  for (const host of ["127.0.0.1", "localhost"]) {
    for (const index of [0, 1]) {
      await page.goto(`http://${host}:${attack.address().port}/`);
      const [answer] = await Promise.all([
        page.waitForResponse((response) => response.request().method() === "POST"),
        page.waitForURL(`${base}/**`),
        page.evaluate((which) => document.forms[which].submit(), index),
      ]);
      assert.ok([303, 403].includes(answer.status()), `${answer.status()}`);
      assert.ok(answer.status() === 403 || /\/login$/.test(answer.headers().location));
    }
  }
  // With the cookie, but without what only our pages know.
  await page.goto(`${base}/`);
  const statuses = await page.evaluate(async () => {
    const send = (address, fields) => fetch(address, { method: "POST", body: new URLSearchParams(fields), redirect: "manual" });
    return [
      (await send("/logout", {})).status,
      (await send("/logout", { form_token: "x" })).status,
      (await send("/file/files/welcome.txt", { expires_in: "60" })).status,
      (await send("/links/1/revoke", { form_token: "" })).status,
    ];
  });
  assert.deepEqual(statuses, [403, 403, 403, 403]);
  await page.goto(`${base}/`);
  await page.waitForSelector(".main-nav");
  // And nobody's page has ours in it.
  const headers = (await page.goto(`${base}/`)).headers();
  assert.match(headers["content-security-policy"], /frame-ancestors 'none'/);
  assert.equal(headers["cache-control"], "private, no-store");
  attack.close();
  await context.close();
});

test("the keyboard is enough", async () => {
  const { context, page } = await visitor({ token: tokens.marie });
  await page.goto(`${base}/browse/${MARTIN}`);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await judge(page, "keyboard-skip");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "content");
  const stops = [];
  for (let index = 0; index < 60; index += 1) {
    await page.keyboard.press("Tab");
    const stop = await page.evaluate(() => {
      const here = document.activeElement;
      const style = getComputedStyle(here);
      return { text: here.textContent.trim() || here.id, outline: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0 };
    });
    stops.push(stop.text);
    assert.ok(stop.outline || stop.text === "", `the focus is seen on ${stop.text}`);
    if (/budget/.test(stop.text)) break;
  }
  assert.ok(stops.some((text) => text === "budget.xlsx"), stops.join(", "));
  await page.keyboard.press("Enter");
  await page.waitForURL(/budget\.xlsx$/);
  await context.close();
});

test("a folder of 100,000 files opens at once", async () => {
  const { context, page } = await visitor({ token: tokens.marie });
  const cookie = (await context.cookies()).map(({ name, value }) => `${name}=${value}`).join("; ");
  const measure = async (name, address, limit) => {
    const times = [];
    let size = 0;
    for (let round = 0; round < 25; round += 1) {
      const begun = performance.now();
      const answer = await fetch(base + address, { headers: { cookie, accept: "text/html" } });
      size = (await answer.arrayBuffer()).byteLength;
      times.push(performance.now() - begun);
      assert.equal(answer.status, 200, address);
    }
    times.sort((a, b) => a - b);
    figures.push([name, `${times[12].toFixed(1)} ms`, `${times[23].toFixed(1)} ms`, `${(size / 1024).toFixed(1)} KiB`]);
    if (limit) assert.ok(times[12] < limit, `${name}: ${times[12]} ms`);
  };
  await measure("100,000 files, by name", "/browse/Archives/many", 100);
  await measure("by name, backwards", "/browse/Archives/many?sort=name&order=desc", 100);
  await measure("by size", "/browse/Archives/many?sort=size&order=desc");
  await measure("by date", "/browse/Archives/many?sort=modified&order=desc");
  await measure("search in it", "/browse/Archives?q=document+0999");
  await measure("start page", "/");
  await measure("a small directory", `/browse/${MARTIN}`);
  await measure("a file", `/file/${MARTIN}/budget.xlsx`);
  await measure("links", "/links");
  await page.goto(`${base}/browse/Archives/many`);
  for (const asset of await page.$$eval("link[href], script[src]", (all) => all.map((one) => one.href || one.src))) {
    const size = (await (await fetch(asset)).arrayBuffer()).byteLength;
    figures.push([new URL(asset).pathname.replace(/-[0-9a-f]{16}/, ""), "", "", `${(size / 1024).toFixed(1)} KiB`]);
  }
  const painted = await page.evaluate(() => new Promise((done) => {
    new PerformanceObserver((list) => done(list.getEntries().at(-1).startTime)).observe({ type: "largest-contentful-paint", buffered: true });
  }));
  figures.push(["100,000 files, painted in the browser", `${painted.toFixed(0)} ms`, "", ""]);
  await context.close();
});

await run();
