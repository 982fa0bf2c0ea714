/**
 * Description of the API, for programs (/openapi.json) and people (/docs). Bodies are described by the schemas that check
 * them. The page holds no script and fetches nothing.
 */
import { z } from 'zod';
import { isJsonObject, type JsonObject } from '../../files/json-object.ts';
import { renderReport, type Section } from '../../report/html.ts';
import { makeTable } from '../../report/table.ts';
import type { ServerLimits } from './limits.ts';
import type { Route } from './route.ts';

type Described = Omit<Route<never>, 'answer' | 'body'> & { readonly body?: JsonObject };

interface DocumentedApi {
  readonly summary: string;
  readonly routes: readonly Omit<Route<never>, 'answer'>[];
}

const commonRoutes: readonly Described[] = [
  { method: 'get', path: '/health', summary: 'Says whether the server is alive' },
  { method: 'get', path: '/v1/models', summary: 'Lists the model under its names' },
  { method: 'get', path: '/v1/models/{id}', summary: 'Describes the model of this name' },
  { method: 'get', path: '/props', summary: 'Gives settings, limits and the chat template' },
  { method: 'get', path: '/tokenizer_info', summary: 'Gives what clients need to tokenize by themselves' },
  { method: 'get', path: '/load', summary: 'Counts requests running or waiting' },
  { method: 'get', path: '/metrics', summary: 'Reports measurements to Prometheus', gives: 'text/plain' },
];

function describedBody(schema: z.ZodType): JsonObject {
  const made: unknown = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  if (!isJsonObject(made)) return {};
  const { $schema: _, ...own } = made;
  return own;
}

/** All routes, with the JSON Schema of their bodies. */
export function describedRoutes(limits: ServerLimits, { routes }: Pick<DocumentedApi, 'routes'>): Described[] {
  return [
    ...routes.map((route) => ({ ...route, body: route.body && describedBody(route.body(limits)) })),
    ...commonRoutes,
  ];
}

const errorSchema = {
  type: 'object',
  required: ['error'],
  properties: {
    error: {
      type: 'object',
      required: ['message', 'type', 'code', 'param'],
      properties: {
        message: { type: 'string' },
        type: { type: 'string' },
        code: { type: 'integer', description: 'The status' },
        param: { type: ['string', 'null'], description: 'The wrong field of the request' },
      },
    },
  },
};

export function apiDocument(limits: ServerLimits, api: DocumentedApi, absent: readonly string[]) {
  const paths: Record<string, Record<string, object>> = {};
  for (const route of describedRoutes(limits, api)) {
    const { method, path, summary, body, optional, takes, gives = 'application/json' } = route;
    const content = takes === undefined ? body && { 'application/json': { schema: body } } : { [takes]: {} };
    paths[path] = {
      ...paths[path],
      [method]: {
        summary,
        operationId: `${method}${path.replace(/\W+/g, '_')}`,
        parameters: [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
          name,
          in: 'path',
          required: true,
          schema: { type: 'string' },
        })),
        requestBody: content && { required: optional !== true, content },
        responses: {
          200: { description: 'The answer; server-sent events with "stream": true', content: { [gives]: {} } },
          default: {
            description: 'An error',
            content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
          },
        },
      },
    };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'linnet serve',
      version: '1',
      description: `${api.summary} Not here: ${absent.join(', ')}.`,
    },
    security: [{}, { bearer: [] }],
    paths,
    components: {
      schemas: { Error: errorSchema },
      securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } },
    },
  };
}

/** The same for people: one page without scripts. */
export function documentPage(limits: ServerLimits, api: DocumentedApi): Response {
  const all = describedRoutes(limits, api);
  const sections: Section[] = all.map(({ method, path, summary, body, takes, gives }) => {
    const fields = fieldsOf(body);
    return {
      title: `${method.toUpperCase()} ${path}`,
      blocks: [
        { kind: 'text', text: summary },
        ...(fields.length === 0 ? [] : [{ kind: 'table' as const, table: fieldTable(fields) }]),
        ...Object.entries({ Takes: takes, Gives: gives })
          .filter(([, type]) => type !== undefined)
          .map(([verb, type]) => ({ kind: 'text' as const, text: `${verb} ${type}.` })),
      ],
    };
  });
  const html = renderReport({
    title: 'linnet serve',
    subtitle: 'Endpoints and their fields; programs read /openapi.json',
    sections,
    sortable: false,
  });
  return new Response(html, {
    headers: {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy':
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    },
  });
}

export function fieldsOf(body: JsonObject | undefined) {
  const properties = isJsonObject(body?.properties) ? body.properties : {};
  const required: readonly unknown[] = Array.isArray(body?.required) ? body.required : [];
  return Object.entries(properties).map(([name, schema]) => ({
    name,
    required: required.includes(name),
    schema: isJsonObject(schema) ? schema : {},
  }));
}

function fieldTable(fields: ReturnType<typeof fieldsOf>) {
  return makeTable(
    [
      { header: 'field', value: 'name' },
      {
        header: 'value',
        value: ({ schema, required }) => (required ? `${spoken(schema)}, required` : spoken(schema)),
      },
    ],
    fields,
  );
}

export function spoken(schema: JsonObject): string {
  const options = [schema.anyOf, schema.oneOf].find(Array.isArray);
  if (options !== undefined) {
    const words = options.filter(isJsonObject).map(spoken);
    return [...new Set(words.filter((word) => word !== 'null'))].join(' or ');
  }
  if (Array.isArray(schema.enum)) return schema.enum.map((value) => JSON.stringify(value)).join(' or ');
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === 'array') {
    const items = isJsonObject(schema.items) ? spoken(schema.items) : 'anything';
    return `list of ${items}${bounds(schema.minItems, schema.maxItems, ' items')}`;
  }
  if (schema.type === 'string') return `text${bounds(schema.minLength, schema.maxLength, ' characters')}`;
  if (schema.type === 'integer' || schema.type === 'number') {
    return schema.type + bounds(schema.minimum, schema.maximum);
  }
  const types = [schema.type].flat().filter((type) => typeof type === 'string');
  return types.filter((type) => type !== 'null' || types.length === 1).join(' or ') || 'anything';
}

function bounds(least: unknown, most: unknown, unit = ''): string {
  const shown = (value: unknown): value is number =>
    typeof value === 'number' && Math.abs(value) < Number.MAX_SAFE_INTEGER;
  if (shown(most)) return `, ${shown(least) ? `${least} to` : 'up to'} ${most}${unit}`;
  return shown(least) ? `, at least ${least}` : '';
}
