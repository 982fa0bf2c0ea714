/** The style sheet of HTML reports: light and dark, narrow screens, paper. No fonts or images are fetched. */
import { CHART_INK, chartRules, darkInk, darkSeries, lightSeries } from './charts/chart-style.ts';

/** Neutral colours of a theme. `text`, `muted`, `line` and `grid` also recolour the charts, which are drawn for white. */
type Theme = Readonly<Record<keyof typeof CHART_INK | 'page' | 'sheet' | 'accent', string>>;

const LIGHT: Theme = { ...CHART_INK, page: '#f6f7f9', sheet: '#ffffff', accent: '#0072b2' };
const DARK: Theme = { ...darkInk, page: '#101318', sheet: '#181c23', accent: '#5db3e8' };

function variables(theme: Theme, series: readonly string[]): string {
  return [...Object.entries(theme), ...series.map((colour, at) => [`series-${at}`, colour])]
    .map(([name, colour]) => `--${name}: ${colour};`)
    .join(' ');
}

/** Charts carry their colours as attributes, which any rule of a style sheet overrules. */
const CHART_RULES = chartRules('figure svg ', (name) => `var(--${name})`);

export const REPORT_STYLE = `
:root { color-scheme: light dark; ${variables(LIGHT, lightSeries)} }
@media screen and (prefers-color-scheme: dark) { :root { ${variables(DARK, darkSeries)} } }
* { box-sizing: border-box; }
body {
  margin: 0; padding: 2.5rem 1rem; background: var(--page); color: var(--text);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif;
  -webkit-text-size-adjust: 100%;
}
main {
  max-width: 50rem; margin: 0 auto; padding: 2.5rem; background: var(--sheet);
  border: 1px solid var(--grid); border-radius: 10px;
}
h1 { margin: 0 0 .25rem; font-size: 1.9rem; line-height: 1.2; letter-spacing: -.01em; }
h2 { margin: 2.75rem 0 .75rem; padding-top: 1.25rem; border-top: 1px solid var(--grid); font-size: 1.3rem; line-height: 1.3; }
p { margin: .75rem 0; overflow-wrap: break-word; }
.subtitle, figcaption, footer, dt { color: var(--muted); }
.subtitle { margin: 0 0 1.5rem; }
nav { margin: 1.5rem 0 0; font-size: .92rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: 0; padding: 0; list-style: none; }
a { color: var(--accent); text-decoration-thickness: 1px; text-underline-offset: 3px; }
figure { margin: 1.5rem 0; }
figcaption { margin-top: .5rem; font-size: .9rem; line-height: 1.5; }
footer code { display: block; margin-top: .4rem; font: .78rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; overflow-wrap: anywhere; }
footer code::before { content: "$ "; }
figure svg { display: block; width: 100%; height: auto; }
.narrow { display: none; }
.scroll { overflow-x: auto; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
table { width: 100%; border-collapse: collapse; font-size: .94rem; line-height: 1.4; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem .75rem; border-bottom: 1px solid var(--grid); text-align: left; vertical-align: top; }
th { border-bottom-color: var(--line); font-weight: 600; vertical-align: bottom; }
th:first-child, td:first-child { padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
th button { padding: 0; border: 0; background: none; color: inherit; font: inherit; text-align: inherit; cursor: pointer; }
th button:hover { text-decoration: underline; }
th[aria-sort="ascending"] button::after { content: " ▲" / ""; }
th[aria-sort="descending"] button::after { content: " ▼" / ""; }
.right { text-align: right; }
td.right { white-space: nowrap; }
pre {
  margin: 0; padding: .9rem 1.1rem; background: var(--page); border: 1px solid var(--grid); border-radius: 6px;
  font: .86rem/1.55 ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
  white-space: pre-wrap; overflow-wrap: anywhere;
}
dl { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .3rem 1.5rem; margin: 1rem 0; font-size: .94rem; }
dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--grid); font-size: .85rem; }
${CHART_RULES}
@media (max-width: 40rem) {
  body { padding: 0; }
  main { padding: 1.5rem 1.1rem; border: 0; border-radius: 0; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .5rem; }
  th, td { padding: .4rem .5rem; }
  .wide { display: none; }
  .narrow { display: block; }
}
@media print {
  :root { color-scheme: light; }
  body { padding: 0; background: none; font-size: 10.5pt; }
  main { max-width: none; padding: 0; border: 0; }
  nav { display: none; }
  .wide { display: block; }
  .narrow { display: none; }
  .scroll { overflow: visible; }
  th button::after { content: none; }
  h2 { break-after: avoid; }
  figure, tr, dl { break-inside: avoid; }
}
`.trim();
