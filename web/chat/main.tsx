/** Starts the page. */
import '../components/theme.css';
import '../components/controls.css';
import '../components/drawings.css';
import '../components/header.css';
import './chat.css';
import { render } from 'preact';
import { restoreScheme } from '../components/scheme.tsx';
import { ChatApp } from './app.tsx';

restoreScheme();
const place = document.querySelector('#page');
if (place !== null) render(<ChatApp />, place);
