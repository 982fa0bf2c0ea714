/** Templates within limits, whatever their authors intend, and methods of texts as Python has them. */
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { JinjaTemplate } from './jinja-template.ts';

describe('templates within limits', () => {
  const limits = { entries: 1000, characters: 30_000, work: 1e9 };
  const render = (source: string, work = limits.work): string =>
    new JinjaTemplate(source, { ...limits, work }).render({ items: [1, 2], text: 'x'.repeat(29_999) + 'y' });
  const loops = (depth: number): string =>
    depth === 0 ? 'x' : `{% for i in range(900) %}${loops(depth - 1)}{% endfor %}`;

  it.each([
    ['{% for i in range(10 ** 9) %}x{% endfor %}', /gives a function the number 1000000000; at most 1000/],
    ['{% for i in range(0, 900, 0.01) %}x{% endfor %}', /range\(\) of 90000 numbers; at most 1000 are made/],
    ['{{ range(-(10 ** 9), 1) }}', /range\(\) of 1000000001 numbers/],
    ['{% set n = namespace(s="x") %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}', /a text of more/],
    ['{% set n = namespace(s=[1]) %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}', /a list of more/],
    ['{% for i in range(900) %}{{ "x" | indent(60, true) }}{% endfor %}', /a text of more than 30000 characters/],
    ['{{ "x" | indent(10 ** 8, true) }}', /gives a function the number 100000000; at most/],
    ['{{ items | tojson(indent=10 ** 8) }}', /gives a function the number 100000000; at most/],
    ['{{ range(1, 2, 0) }}', /a step other than 0/],
    ['{{ "x".replace("", "y" * 9) }}', /Unknown operator/],
    [
      '{% set t = "x" | indent(3) %}{% for i in range(9) %}{% set n = t.replace("x", text) %}{% endfor %}',
      /a text of more/,
    ],
    ['{{ items | tojson(separators=(text[:900], ":")) }}', /separators of/],
    ['{% set n = namespace(x=1) %}{{ n }}', /Cannot convert/],
  ])('end: %s', (source, message) => {
    expect(() => render(source)).toThrow(message);
  });

  it('end after their work, however little they write', () => {
    for (const body of ['x', '']) {
      expect(() => render(loops(4).replace('x', body), 10_000)).toThrow('it takes more than 10000 units of work');
    }
  });

  it('count a loop, a filter and a method by the size of what they go over', () => {
    const repeated = (work: string): string => `{% for i in range(900) %}{% set t = ${work} %}{% endfor %}`;
    for (const work of ['range(900)', 'range(900) | sort', 'text | upper', 'text.replace("x", "y")']) {
      const rendered = (): string =>
        new JinjaTemplate(repeated(work), { ...limits, work: 20_000 }).render({ text: 'x'.repeat(1000) });
      expect(rendered, work).toThrow('units of work');
    }
    expect(() => render(repeated('items'), 20_000)).not.toThrow();
  });

  const written = [
    ...[
      '{{ n.x | tojson }}',
      '{{ n.x | tojson(indent=1) }}',
      '{{ n.x | string }}',
      '{{ n.x | join }}',
      '{{ n.x | list }}',
    ],
    ...[
      '{{ n.x }}',
      "{{ n.x ~ '' }}",
      "{{ '' + n.x }}",
      '{{ raise_exception(n.x) }}',
      "{{ n.x == 'x' }}",
      '{{ n.x | sort }}',
    ],
    ...["{{ n.x | join(',') }}", '{{ strftime_now(n.x) }}', "{{ {'a': n.x} }}", '{{ (n.x, n.x) | tojson }}'],
  ];
  const doubled = ['[n.x, n.x]', '(n.x, n.x)', "{'a': n.x, 'b': n.x}", "[{'a': [n.x, n.x]}]", '[n.x[0], n.x, n.x]'];
  const times = [15, 50, 5000];
  it.each(doubled)('end soon for values that hold themselves, %s', (value) => {
    for (const end of written) {
      for (const count of times) {
        const loop = `{% for i in range(${count}) %}{% set n.x = ${value} %}{% endfor %}`;
        const started = performance.now();
        expect(() => {
          new JinjaTemplate(`{% set n = namespace(x=[1]) %}${loop}{% for i in range(5000) %}${end}{% endfor %}`).render(
            {},
          );
        }, end + value).toThrow();
        expect(performance.now() - started).toBeLessThan(4000);
      }
    }
  });

  it('end for namespaces that hold one another, and for deep values', () => {
    const chain = Array.from({ length: 40 }, (_, place) => `{% set n${place} = namespace(x=0) %}`).join('');
    const links = Array.from({ length: 39 }, (_, place) => `{% set n${place}.x = [n${place + 1}, n${place + 1}] %}`);
    for (const end of ['{{ n0.x | tojson }}', '{{ n0.x ~ "" }}', '{{ n0.x }}', '{{ [n0] | string }}']) {
      expect(() => new JinjaTemplate(chain + links.join('') + end).render({}), end).toThrow(/Cannot convert/);
    }
    const deep = '{% set n = namespace(x=[1]) %}{% for i in range(200) %}{% set n.x = [n.x] %}{% endfor %}';
    expect(() => new JinjaTemplate(deep).render({})).toThrow(/nested more than 128 deep/);
  });

  it('end by the clock, whatever they do', () => {
    const slow = new JinjaTemplate('{% for i in range(200000) %}{{ i }}{% endfor %}', { work: 1e12, time: 20 });
    expect(() => slow.render({})).toThrow('it takes more than 0.02 s');
  });

  it('have time for long conversations', () => {
    const messages = Array.from({ length: 2000 }, (_, turn) => ({
      role: turn % 2 === 0 ? 'user' : 'assistant',
      content: 'word '.repeat(200),
    }));
    const source = `{% for m in messages %}{% if m.role == 'user' %}{{ '[user]' + m.content + '\n' }}{% else %}{% set c = m.content %}{% if '</think>' in c %}{% set c = c.split('</think>')[-1] %}{% endif %}{{ '[model]' ~ c.strip() }}{% endif %}{% endfor %}`;
    expect(new JinjaTemplate(source).render({ messages }).length).toBeGreaterThan(2_000_000);
  });

  it.each([
    ["t.strip('x')", '\n  x code y', '\n  x code y'],
    ["t.lstrip('\\n')", '\n  x', '  x'],
    ["t.rstrip('\\n')", 'a\n \n', 'a\n '],
    ["t.strip('yx')", 'xyaxy', 'a'],
    ['t.strip(none)', ' a ', 'a'],
    ['t.strip()', ' \x1fa\ufeff\x85', 'a\ufeff'],
    ["t.replace('X', '-', 1)", 'aXbXc', 'a-bXc'],
    ["t.replace('X', '-', count=1) | replace('b', 'd')", 'aXbXc', 'a-dXc'],
    ["t.replace('', '-')", 'ab', '-a-b-'],
  ])('%s as Python has it', (expression, t, expected) => {
    expect(new JinjaTemplate(`{{ ${expression} }}`).render({ t })).toBe(expected);
  });

  it.each([
    ['none', 'None'],
    ['true', 'True'],
    ['missing', ''],
    ['1.5', '1.5'],
    ['[1, 2.0]', '[1, 2.0]'],
    ['[]', '[]'],
    ["{'a': [1, none, {'b': 'c'}], 'd': false}", "{'a': [1, None, {'b': 'c'}], 'd': False}"],
    [`["it's", 'say "a"', "'\\"", 'é\\\\\\n']`, `["it's", 'say "a"', '\\'"', 'é\\\\\\n']`],
    ["['\u00a0\u200b\ue000']", "['\\xa0\\u200b\\ue000']"],
  ])('%s as a text as Python writes it', (value, expected) => {
    expect(new JinjaTemplate(`{{ ${value} | string }}|{{ ${value} | trim }}`).render({})).toBe(
      `${expected}|${expected}`,
    );
  });

  it('writes lists in capitals, as templates of tools do', () => {
    expect(new JinjaTemplate("{{ ['a', none] | upper }}{{ 'B' | lower }}").render({})).toBe("['A', NONE]b");
  });

  it('name months in English on a machine that speaks French, at a fixed time too', () => {
    class French extends Intl.DateTimeFormat {
      constructor(languages?: string, options?: Intl.DateTimeFormatOptions) {
        super(languages ?? 'fr-FR', options);
      }
    }
    vi.stubGlobal('Intl', { DateTimeFormat: French });
    onTestFinished(() => void vi.unstubAllGlobals());
    expect(new Intl.DateTimeFormat(undefined, { month: 'short' }).format(new Date(2026, 10, 5))).toBe('nov.');
    const at = new JinjaTemplate(
      '{{ strftime_now("%d %b %Y, %A %-d %B %y, %-I:%M %p") }}',
      {},
      () => new Date(2026, 10, 5, 15, 7),
    );
    expect(at.render({})).toBe('05 Nov 2026, Thursday 5 November 26, 3:07 PM');
  });

  it('do what they do without', () => {
    expect(render('{% for i in range(5, 0, -2) %}{{ i }}{% endfor %}{{ range(3) | join(",") }}{{ range(2, 4) }}')).toBe(
      '5310,1,2[2, 3]',
    );
    expect(render('{{ none is none }}{{ True }}{{ strftime_now("%Y%%") }}')).toBe(
      `truetrue${new Date().getFullYear()}%`,
    );
  });
});
