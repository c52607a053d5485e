// Holds each dashboard, and the options of each of its panels, against Grafana's own types: a misspelt key, a wrong type or a word
// that Grafana does not know is an error, with the dashboard and the panel. `node check.mjs [FOLDER]`; exit status 1 if there is one.
import fs from "node:fs";
import path from "node:path";
import ts from "typescript";

const here = import.meta.dirname;
const folder = process.argv[2] ?? path.join(here, "../dashboards");
const composable = "@grafana/schema/dist/esm/raw/composable";
const options = {
  stat: `${composable}/stat/panelcfg/x/StatPanelCfg_types.gen`,
  timeseries: `${composable}/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen`,
  table: `${composable}/table/panelcfg/x/TablePanelCfg_types.gen`,
  heatmap: `${composable}/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen`,
  bargauge: `${composable}/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen`,
  "state-timeline": `${composable}/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen`,
};
const fields = { timeseries: "FieldConfig", table: "FieldConfig" };

let source = `import type { Dashboard } from "@grafana/schema";\n`;
const names = Object.keys(options);
names.forEach((kind, i) => {
  const field = fields[kind] ? `, FieldConfig as Field${i}` : "";
  source += `import type { Options as Options${i}${field} } from "${options[kind]}";\n`;
});
// JSON has words where the types have enums, and leaves out what has a default.
source += `
type Word<T> = T extends string ? \`\${T}\` : T;
type Json<T> = T extends string | number | boolean | null | undefined ? Word<T>
  : T extends Array<infer Item> ? Json<Item>[]
  : T extends object ? { [Key in keyof T]: Json<T[Key]> } : T;
type Partly<T> = T extends Array<infer Item> ? Partly<Item>[] : T extends object ? { [Key in keyof T]?: Partly<T[Key]> } : T;
`;
const places = [];
const add = (place, type, value) => {
  places.push({ place, from: source.length });
  source += `export const value${places.length}: ${type} = ${JSON.stringify(value, null, 1)};\n`;
};
let panels = 0;
for (const file of fs.readdirSync(folder).filter((name) => name.endsWith(".json")).sort()) {
  const dashboard = JSON.parse(fs.readFileSync(path.join(folder, file), "utf8"));
  add(file, "Json<Dashboard>", dashboard);
  for (const panel of dashboard.panels) {
    const at = `${file}, panel "${panel.title}"`;
    const i = names.indexOf(panel.type);
    if (i < 0) throw new Error(`${at}: no types are known for "${panel.type}"`);
    add(`${at}: options`, `Partly<Json<Options${i}>>`, panel.options);
    if (fields[panel.type]) add(`${at}: custom`, `Partly<Json<Field${i}>>`, panel.fieldConfig.defaults.custom);
    panels += 1;
  }
}

const file = path.join(here, "generated.ts");
const settings = {
  noEmit: true, strict: true, skipLibCheck: true, target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler, types: [],
};
const host = ts.createCompilerHost(settings);
const read = host.getSourceFile.bind(host);
host.getSourceFile = (name, target) => (name === file ? ts.createSourceFile(name, source, target, true) : read(name, target));
host.fileExists = ((exists) => (name) => name === file || exists(name))(host.fileExists.bind(host));
const program = ts.createProgram([file], settings, host);
const problems = ts.getPreEmitDiagnostics(program);
for (const problem of problems) {
  const place = places.findLast((place) => place.from <= (problem.start ?? 0))?.place ?? "generated.ts";
  console.error(`${place}: ${ts.flattenDiagnosticMessageText(problem.messageText, "\n  ")}`);
}
console.log(`${panels} panels in ${places.filter(({ place }) => place.endsWith(".json")).length} dashboards, ${problems.length} problems`);
process.exit(problems.length ? 1 : 0);
