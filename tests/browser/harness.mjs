// The browser, and what must hold of every page in it. See main.rs for the world around it, and page.mjs for what is done.
import assert from "node:assert/strict";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(process.env.BROWSER_MODULES + "/node_modules/");
const { chromium } = require("playwright-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
export const plan = JSON.parse(process.env.BROWSER_PLAN);
export const { base, tokens } = plan;
fs.mkdirSync(plan.output, { recursive: true });

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  // Chromium has no sandbox of its own for root.
  args: process.getuid() === 0 ? ["--no-sandbox"] : [],
});
export const DESKTOP = { width: 1280, height: 860 };
export const PHONE = { width: 390, height: 844 };
export const figures = [];
const troubles = [];

// Runs in every page before its own script: notes what moves, and what the policy forbids.
const watcher = () => {
  window.moved = 0;
  window.forbidden = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.moved += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
  document.addEventListener("securitypolicyviolation", (event) => {
    window.forbidden.push(`${event.violatedDirective} ${event.blockedURI}`);
  });
};

export async function visitor({ token, locale = "en", scheme = "light", size = DESKTOP, ...more } = {}) {
  const context = await browser.newContext({
    locale, colorScheme: scheme, viewport: size, hasTouch: size === PHONE, timezoneId: "Europe/Paris", ...more,
  });
  await context.addInitScript(watcher);
  const page = await context.newPage();
  // What a browser says of an answer that is meant to be a refusal is no trouble.
  const expected = [/status of 4\d\d/];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !expected.some((text) => text.test(message.text()))) {
      troubles.push(`${page.url()}: ${message.text()}`);
    }
  });
  page.on("pageerror", (error) => troubles.push(`${page.url()}: ${error.message}`));
  if (token) await login(page, token);
  return { context, page };
}

async function login(page, token) {
  await page.goto(`${base}/login`);
  await page.fill("#token", token);
  await page.click("main button[type=submit]");
  await page.waitForSelector(".main-nav");
}

// What must hold of each page, whatever it shows.
export async function judge(page, name, { shot = true } = {}) {
  await page.waitForLoadState("load");
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  const seen = await page.evaluate(() => ({
    moved: window.moved,
    forbidden: window.forbidden,
    wider: document.documentElement.scrollWidth > document.documentElement.clientWidth,
    pwned: window.pwned,
    // The judge itself leaves styles behind.
    foreign: window.axe ? 0 : [...document.querySelectorAll("script:not([src]), style, [style], [onclick]")].length,
    title: document.title,
  }));
  const context = `${name} (${page.url()})`;
  assert.equal(seen.moved, 0, `${context}: the layout has moved`);
  assert.deepEqual(seen.forbidden ?? [], [], `${context}: the policy was violated`);
  assert.equal(seen.wider, false, `${context}: wider than the window`);
  assert.equal(seen.pwned, undefined, `${context}: a name was run`);
  assert.equal(seen.foreign, 0, `${context}: inline script or style`);
  assert.ok(seen.title && seen.title !== "pwned", context);
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    // The frame is the browser's own reader.
    iframes: false,
  }));
  const violations = found.violations.map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160)).join(" | ")}`);
  assert.deepEqual(violations, [], `${context}: axe`);
  assert.ok(found.passes.length > 10, `${context}: axe has looked at something`);
  if (shot) await page.screenshot({ path: path.join(plan.output, `${name}.png`) });
}

export async function downloaded(page, act) {
  const [download] = await Promise.all([page.waitForEvent("download"), act()]);
  return { name: download.suggestedFilename(), content: fs.readFileSync(await download.path(), "utf8"), url: download.url() };
}

// In the order in which they are given, those whose name has a word of the command line, or all.
const tests = [];
export const test = (name, run) => tests.push([name, run]);

export const at = (folder, ...parts) => [folder, ...parts].map(encodeURIComponent).join("/");

export async function run() {
  const chosen = tests.filter(([name]) => plan.only.length === 0 || plan.only.some((word) => name.includes(word)));
  assert.ok(chosen.length > 0, `no test has one of ${plan.only} in its name`);
  let failed = 0;
  for (const [name, run] of chosen) {
    const begun = performance.now();
    try {
      await run();
      assert.deepEqual(troubles.splice(0), [], "the console");
      console.log(`ok      ${name} (${((performance.now() - begun) / 1000).toFixed(1)} s)`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED  ${name}\n${error.stack}\n${troubles.splice(0).join("\n")}`);
      for (const context of browser.contexts()) {
        for (const page of context.pages()) await page.screenshot({ path: path.join(plan.output, `FAILED-${failed}.png`) }).catch(() => {});
        await context.close();
      }
    }
  }
  await browser.close();
  for (const row of figures) console.log(`  ${row[0].padEnd(40)} median ${row[1].padStart(9)}  p96 ${row[2].padStart(9)}  ${row[3].padStart(10)}`);
  console.log(failed ? `${failed} of ${chosen.length} failed` : `all ${chosen.length} hold; screenshots are in ${plan.output}`);
  process.exit(failed ? 1 : 0);
}
