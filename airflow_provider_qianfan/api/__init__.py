"""What Qianfan says, and how it is spoken to: no Airflow and no socket in here."""
