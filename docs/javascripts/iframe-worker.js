// Browsers start no worker for a page that is opened as a file. There, the search's worker runs in a hidden frame.
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(url) {
      const { port1, port2 } = new MessageChannel();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.srcdoc = "";
      frame.onload = () => {
        const scope = frame.contentWindow;
        const script = scope.document.createElement("script");
        scope.postMessage = (data) => port2.postMessage(data);
        script.onload = () => (port2.onmessage = (event) => scope.onmessage(event)); // messages have waited until here
        script.onerror = (event) => this.onerror?.(event);
        script.src = url;
        scope.document.body.append(script);
      };
      port1.onmessage = (event) => this.onmessage?.(event);
      this.postMessage = (data) => port1.postMessage(data);
      this.terminate = () => {
        port1.close();
        frame.remove();
      };
      document.body.append(frame);
    }
  };
}
