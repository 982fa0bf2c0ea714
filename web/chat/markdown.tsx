/**
 * A model's texts as Markdown. They are hostile: HTML in them is escaped, and DOMPurify reduces Marked's
 * output to text, lists, tables and links; nothing loads.
 */
import DOMPurify from 'dompurify';
import { useEffect, useRef } from 'preact/hooks';
import { markdownToHtml } from './markdown-html.ts';

const tags =
  'a,b,blockquote,br,code,del,em,h1,h2,h3,h4,h5,h6,hr,i,li,ol,p,pre,s,strong,sub,sup,table,tbody,td,th,thead,tr,ul'.split(
    ',',
  );

/** Least milliseconds between renderings of a growing text; slow renderings wait ten times as long as one takes. */
const renderEvery = 100;

/** @param text Markdown @returns nodes that load and run nothing; the text itself if it is beyond the bounds */
function renderMarkdown(text: string): DocumentFragment | HTMLElement {
  const html = markdownToHtml(text);
  if (html === undefined) {
    const plain = document.createElement('div');
    plain.className = 'plain';
    plain.textContent = text;
    return plain;
  }
  const fragment = DOMPurify.sanitize(html, {
    ALLOWED_TAGS: tags,
    ALLOWED_ATTR: ['href', 'title', 'start'],
    ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
    RETURN_DOM_FRAGMENT: true,
  });
  for (const link of fragment.querySelectorAll('a')) {
    link.target = '_blank';
    link.rel = 'noopener noreferrer';
  }
  // Wide blocks scroll, also by keyboard.
  for (const wide of fragment.querySelectorAll('pre')) wide.tabIndex = 0;
  for (const box of fragment.querySelectorAll('table')) {
    const frame = document.createElement('div');
    frame.className = 'wide';
    frame.tabIndex = 0;
    box.replaceWith(frame);
    frame.append(box);
  }
  return fragment;
}

export function Markdown({ text }: { readonly text: string }) {
  const place = useRef<HTMLDivElement>(null);
  const rendering = useRef({ ended: 0, took: 0 });
  useEffect(() => {
    const { ended, took } = rendering.current;
    const wait = Math.max(0, ended + Math.max(renderEvery, 10 * took) - performance.now());
    const timer = setTimeout(() => {
      const started = performance.now();
      place.current?.replaceChildren(renderMarkdown(text));
      const now = performance.now();
      rendering.current = { ended: now, took: now - started };
    }, wait);
    return () => clearTimeout(timer);
  }, [text]);
  return <div class="markdown" ref={place} />;
}
