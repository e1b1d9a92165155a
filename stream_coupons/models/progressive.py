class BinaryMetrics:
    count = 0
    positives = 0
    log_loss = 0.0
    roc_auc = None
    base_log_loss = 0.0

    def update(self, p, y):
        self.count += 1
        self.positives += bool(y)
