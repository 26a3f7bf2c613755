import { html } from '../vendor/preact.js';

export default () => html`<p>Not here yet.</p>`;
